"""Every method there is, by name."""

from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.method import Method
from a2bgan.training.methods.padim import PaDiM
from a2bgan.training.methods.patchcore import PatchCore

METHODS: dict[str, type[Method]] = {
    "a2bgan": A2BGAN,
    "padim": PaDiM,
    "patchcore": PatchCore,
}
