"""Public data sets, as they are downloaded, made into sets with a manifest."""

import inspect
from collections.abc import Callable
from pathlib import Path

from a2bgan.data.prepare.bmad import prepare_bmad
from a2bgan.data.prepare.celeba import prepare_celeba
from a2bgan.data.prepare.chestxray8 import prepare_chestxray8
from a2bgan.data.prepare.covidx import prepare_covidx
from a2bgan.data.prepare.medianomaly import prepare_medianomaly
from a2bgan.data.prepare.medmnist import prepare_medmnist
from a2bgan.data.prepare.mvtec import prepare_mvtec
from a2bgan.data.prepare.writing import Prepared
from a2bgan.errors import InputError

DATA_SETS: dict[str, Callable[..., Prepared]] = {
    "covidx": prepare_covidx,
    "chestxray8": prepare_chestxray8,
    "celeba": prepare_celeba,
    "medianomaly": prepare_medianomaly,
    "bmad": prepare_bmad,
    "mvtec": prepare_mvtec,
    "medmnist": prepare_medmnist,
}


def prepare(kind: str, root: Path, out: Path, **options: object) -> Prepared:
    """Make the folder `out` of the download of a KIND in `root`.

    options: those of the kind's function; None stands for its default. The new folder has images/,
    masks/ where there are any, and manifest.csv; it appears whole or not at all, and the same
    arguments give the same manifest. Raises InputError.
    """
    if kind not in DATA_SETS:
        raise InputError(f"no kind {kind!r}: use one of {', '.join(DATA_SETS)}")
    given = {name: value for name, value in options.items() if value is not None}
    for name in given:
        if name not in inspect.signature(DATA_SETS[kind]).parameters:
            raise InputError(f"--{name.replace('_', '-')} is not for {kind}; leave it out")
    if "lists" in given and given.keys() & {"split", "scale", "view"}:
        raise InputError(
            "--lists says where each image goes: leave out --split, --scale and --view"
        )
    return DATA_SETS[kind](root, out, **given)
