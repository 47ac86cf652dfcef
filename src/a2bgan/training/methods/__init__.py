"""Every method there is, by name: A2B-GAN, those that learn from a mixed set too, the rest,
translators, and what other packages add."""

from collections.abc import Iterator, Mapping
from importlib import import_module

from a2bgan import extensions
from a2bgan.errors import InputError
from a2bgan.training.methods.method import Method

BUILT_IN = {
    "a2bgan": "a2bgan:A2BGAN",
    "probe": "probe:Probe",
    "brainomaly": "brainomaly:Brainomaly",
    "ddad": "ddad:DDAD",
    "pu": "pu:PUClassifier",
    "ganomaly": "ganomaly:GANomaly",
    "fanogan": "fanogan:FAnoGAN",
    "alad": "alad:ALAD",
    "autoencoder": "autoencoder:AutoencoderMethod",
    "vae": "vae:VAE",
    "padim": "padim:PaDiM",
    "patchcore": "patchcore:PatchCore",
    "stargan": "stargan:StarGAN",
    "fixedpointgan": "fixedpointgan:FixedPointGAN",
    "councilgan": "councilgan:CouncilGAN",
    "aclgan": "aclgan:ACLGAN",
}
"""Module and class of each method, imported when it is used."""


class _Methods(Mapping[str, type[Method]]):
    """Methods by name. A package's method that is none raises InputError when it is used."""

    def __getitem__(self, name: str) -> type[Method]:
        if name in BUILT_IN:
            module, kind = BUILT_IN[name].split(":")
            found: type[Method] = getattr(import_module(f"{__name__}.{module}"), kind)
            return found
        if name not in extensions.added(extensions.METHOD_GROUP):
            raise KeyError(name)
        found = extensions.load(extensions.METHOD_GROUP, name)
        if not (isinstance(found, type) and issubclass(found, Method)):
            raise InputError(f"{name}: no subclass of a2bgan.training.methods.method.Method")
        return found

    def __iter__(self) -> Iterator[str]:
        yield from BUILT_IN
        added = extensions.added(extensions.METHOD_GROUP)
        yield from (name for name in added if name not in BUILT_IN)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def __contains__(self, name: object) -> bool:
        return name in list(iter(self))  # without importing it


METHODS = _Methods()
