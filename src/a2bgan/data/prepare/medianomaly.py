"""Sets in the layout of MedIAnomaly and DDAD: images and a data.json that divides them."""

import json
import posixpath
from collections.abc import Iterator
from pathlib import Path

from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import Case, borrow_mixed, require_share
from a2bgan.data.prepare.writing import Prepared, missing, write_download
from a2bgan.errors import InputError

FOLDERS = ("images", "train_png_512")
"""Folders of images in MedIAnomaly and in DDAD."""

LAYOUT = "one set, such as RSNA/: data.json and the folder images/ (or train_png_512/) beside it"

# Keys of data.json, part, label; the unlabelled ones are not in every file.
_LISTS = (
    (("train", "0"), "healthy", 0),
    (("train", "unlabeled", "0"), "mixed", 0),
    (("train", "unlabeled", "1"), "mixed", 1),
    (("test", "0"), "test", 0),
    (("test", "1"), "test", 1),
)


def prepare_medianomaly(
    root: Path, out: Path, *, mixed_share: float = 0.5, seed: int = 0
) -> Prepared:
    """Follow data.json: train/0 is healthy, train/unlabeled mixed, test the test set.

    mixed_share, seed: where nothing is unlabelled, `mixed_share` of the abnormal test images and
        as many normal training images become the mixed set. Raises InputError.
    """
    require_share(mixed_share)
    download = Download(root)
    name = download.find_one(("data.json",), LAYOUT)
    try:
        lists = json.loads(download.read_text(name))
    except ValueError as error:
        raise InputError(f"{root}, {name}: not JSON ({error}); get the file again") from None
    present = set(download.names)
    parts: dict[str, list[Case]] = {"healthy": [], "mixed": [], "test": []}
    named: set[str] = set()
    absent = 0
    for part, label, image in _listed(lists, f"{root}, {name}"):
        if image in named:
            raise InputError(f"{root}, {name}: {image!r} is listed twice; get the file again")
        named.add(image)
        places = (posixpath.join(posixpath.dirname(name), folder, image) for folder in FOLDERS)
        file = next((place for place in places if place in present), None)
        if file is None:
            absent += 1
        else:
            parts[part].append(Case(image, file, label))
    if absent == len(named):
        raise InputError(
            f"{root}: none of the {absent} images of {name} is there; expected {LAYOUT}"
        )
    notes = missing(absent, len(named), f"images of {name}")
    if not parts["mixed"]:
        abnormal = [case for case in parts["test"] if case.label == 1]
        normal = [case for case in parts["test"] if case.label == 0]
        borrowed, left = borrow_mixed(parts["healthy"], [abnormal], mixed_share, seed)
        parts = {**borrowed, "test": normal + left}
        notes.append(
            f"no unlabelled images in {name}: the mixed set has {len(abnormal) - len(left)} of "
            f"{len(abnormal)} abnormal test images, so results do not compare with published ones"
        )
    return write_download(out, download, parts, notes)


def _listed(lists: object, file: str) -> Iterator[tuple[str, int, str]]:
    """(part, label, image) of everything data.json names. Raises InputError."""
    for keys, part, label in _LISTS:
        value = lists
        for key in keys:
            value = value.get(key) if isinstance(value, dict) else None
        if value is None and part == "mixed":
            continue
        if not isinstance(value, list) or not all(isinstance(image, str) for image in value):
            raise InputError(
                f"{file}: {'/'.join(keys)} is not a list of images; get the file again"
            )
        for image in value:
            yield part, label, image
