"""Every method there is, by name."""

from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.alad import ALAD
from a2bgan.training.methods.fanogan import FAnoGAN
from a2bgan.training.methods.ganomaly import GANomaly
from a2bgan.training.methods.method import Method

METHODS: dict[str, type[Method]] = {
    "a2bgan": A2BGAN,
    "alad": ALAD,
    "fanogan": FAnoGAN,
    "ganomaly": GANomaly,
}
