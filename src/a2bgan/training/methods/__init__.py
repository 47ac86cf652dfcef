"""Every method there is, by name."""

from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.autoencoder import AutoencoderMethod
from a2bgan.training.methods.brainomaly import Brainomaly
from a2bgan.training.methods.ddad import DDAD
from a2bgan.training.methods.method import Method
from a2bgan.training.methods.pu import PUClassifier
from a2bgan.training.methods.vae import VAE

METHODS: dict[str, type[Method]] = {
    "a2bgan": A2BGAN,
    "brainomaly": Brainomaly,
    "ddad": DDAD,
    "autoencoder": AutoencoderMethod,
    "vae": VAE,
    "pu": PUClassifier,
}
