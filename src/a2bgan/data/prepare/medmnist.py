"""MedMNIST: small images of many kinds, all of a set in one .npz file."""

import zipfile
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.data.manifest import Row
from a2bgan.data.prepare.splits import Case, require_share
from a2bgan.data.prepare.writing import PARTS, Prepared, write_rows
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder

NORMAL_CLASSES = {
    "breastmnist": 1,
    "dermamnist": 5,
    "octmnist": 3,
    "pathmnist": 6,
    "pneumoniamnist": 0,
    "retinamnist": 0,
}
"""Normal or benign, nevi, normal, normal mucosa, normal, no retinopathy."""

LAYOUT = "one .npz file of MedMNIST, such as pneumoniamnist.npz or pneumoniamnist_128.npz"
SIDES = ("train", "val", "test")

LARGEST_ARRAY = 1 << 35
"""Bytes; the largest published array is half of it."""


def prepare_medmnist(
    root: Path,
    out: Path,
    *,
    normal_class: int | None = None,
    mixed_share: float = 0.5,
    seed: int = 0,
) -> Prepared:
    """Make the sets of one MedMNIST file; the test set is its own.

    normal_class: the label that is normal, by default that of NORMAL_CLASSES. In sets with several
        labels an image, such as chestmnist, those without any are normal.
    mixed_share: of the normal images of its training and validation parts that become mixed,
        with as many abnormal ones, if there are; the other normal ones are healthy.
    Images become PNG files, grey or RGB, of the size they have. Raises InputError.
    """
    require_share(mixed_share)
    path = _find_file(root)
    images = {side: _read_array(path, f"{side}_images") for side in SIDES}
    labels = {side: _read_array(path, f"{side}_labels") for side in SIDES}
    is_abnormal = _abnormality([*labels.values()], normal_class, path)
    cases: dict[str, list[Case]] = {}
    for side in SIDES:
        abnormal = is_abnormal(labels[side])
        shape, dtype = images[side].shape, images[side].dtype
        if not (len(shape) == 3 or shape[3:] == (3,)) or dtype != np.uint8:
            raise InputError(
                f"{path}: {side}_images has the shape {shape} of {dtype}; only flat images of "
                "8 bits can be used"
            )
        if len(abnormal) != shape[0]:
            raise InputError(
                f"{path}: {shape[0]} {side}_images, {len(abnormal)} labels; get it again"
            )
        cases[side] = [
            Case(f"{side}_{i:06d}.png", f"{side}/{i}", int(abnormal[i])) for i in range(shape[0])
        ]
    training = [*cases["train"], *cases["val"]]
    normal = [case for case in training if case.label == 0]
    diseased = [case for case in training if case.label == 1]
    rng = np.random.default_rng(seed)
    normal = [normal[i] for i in rng.permutation(len(normal))]
    number = round(mixed_share * len(normal))
    chosen = [diseased[i] for i in rng.permutation(len(diseased))[:number]]
    parts = {"healthy": normal[number:], "mixed": normal[:number] + chosen, "test": cases["test"]}
    if not parts["healthy"] or not chosen:
        raise InputError(
            f"{path}: {len(normal)} normal and {len(diseased)} abnormal training images are too "
            "few; choose another --normal-class or --mixed-share"
        )
    with atomic_folder(out) as folder:
        (folder / "images").mkdir()
        rows = []
        for part in PARTS:
            for case in sorted(parts[part], key=lambda case: case.name):
                side, index = case.file.split("/")
                name = f"images/{case.name}"
                Image.fromarray(images[side][int(index)]).save(folder / name)
                rows.append(Row(name, folder / name, part, case.label, name, None, None))
        return write_rows(out, folder, rows, ["patients are not known: one may be on both sides"])


def _find_file(root: Path) -> Path:
    if root.is_file():
        return root
    found = sorted(root.glob("*.npz")) if root.is_dir() else []
    if len(found) == 1:
        return found[0]
    has = ", ".join(path.name for path in found) or "no .npz file"
    raise InputError(f"{root}: {has}; give as --root {LAYOUT}")


def _read_array(path: Path, name: str) -> np.ndarray:
    try:
        with zipfile.ZipFile(path) as archive:
            size = archive.getinfo(f"{name}.npy").file_size
        if size > LARGEST_ARRAY:
            raise InputError(f"{path}: {name} would be {size >> 30} GB large; it is not {LAYOUT}")
        with np.load(path, allow_pickle=False) as file:
            array: np.ndarray = file[name]
        return array
    except KeyError:
        raise InputError(f"{path}: no {name} in it; expected {LAYOUT}") from None
    except (OSError, ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read ({error}); expected {LAYOUT}") from None


def _abnormality(
    labels: Sequence[np.ndarray], normal_class: int | None, path: Path
) -> Callable[[np.ndarray], np.ndarray]:
    """The function from labels (N, 1), or (N, K) with a column a disease, to bool (N,)."""
    if any(its.ndim == 2 and its.shape[1] > 1 for its in labels):
        if normal_class is not None:
            raise InputError(
                f"{path}: several labels an image, so those without any are normal; "
                "leave out --normal-class"
            )
        return lambda its: np.asarray(its.any(axis=1))
    known = NORMAL_CLASSES.get(path.stem.split("_")[0].lower())
    normal = known if normal_class is None else normal_class
    classes = sorted({int(label) for its in labels for label in np.unique(its)})
    if normal not in classes:
        problem = "which class is normal is not known" if normal is None else f"no class {normal}"
        raise InputError(f"{path}: {problem}; use --normal-class with one of {classes}")
    return lambda its: np.asarray(its.reshape(-1) != normal)
