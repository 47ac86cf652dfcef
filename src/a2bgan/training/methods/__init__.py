"""Every method there is, by name: A2B-GAN, those that learn from a mixed set too, the rest, and
translators."""

from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.aclgan import ACLGAN
from a2bgan.training.methods.alad import ALAD
from a2bgan.training.methods.autoencoder import AutoencoderMethod
from a2bgan.training.methods.brainomaly import Brainomaly
from a2bgan.training.methods.councilgan import CouncilGAN
from a2bgan.training.methods.ddad import DDAD
from a2bgan.training.methods.fanogan import FAnoGAN
from a2bgan.training.methods.fixedpointgan import FixedPointGAN
from a2bgan.training.methods.ganomaly import GANomaly
from a2bgan.training.methods.method import Method
from a2bgan.training.methods.padim import PaDiM
from a2bgan.training.methods.patchcore import PatchCore
from a2bgan.training.methods.probe import Probe
from a2bgan.training.methods.pu import PUClassifier
from a2bgan.training.methods.stargan import StarGAN
from a2bgan.training.methods.vae import VAE

METHODS: dict[str, type[Method]] = {
    "a2bgan": A2BGAN,
    "probe": Probe,
    "brainomaly": Brainomaly,
    "ddad": DDAD,
    "pu": PUClassifier,
    "ganomaly": GANomaly,
    "fanogan": FAnoGAN,
    "alad": ALAD,
    "autoencoder": AutoencoderMethod,
    "vae": VAE,
    "padim": PaDiM,
    "patchcore": PatchCore,
    "stargan": StarGAN,
    "fixedpointgan": FixedPointGAN,
    "councilgan": CouncilGAN,
    "aclgan": ACLGAN,
}
