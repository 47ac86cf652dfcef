"""A folder with sub-folders for the sets, in place of a manifest."""

import os
from collections.abc import Sequence
from pathlib import Path

from a2bgan.data.formats.image_search import search
from a2bgan.data.formats.kinds import is_hidden, is_image, is_volume
from a2bgan.data.manifest import InsideFolder, Manifest, Row, quoted, shown_path
from a2bgan.errors import InputError, name_some

LAYOUT = (
    "healthy/, mixed/ and, if there are test images, test/normal/, test/abnormal/ and test/mask/"
)

NOT_LISTED = ("manifest.csv", "dicomdir")
"""Files of a folder that are no images and are not expected to be."""


def scan_folder(folder: str | Path) -> Manifest:
    """Make a manifest of a folder with sub-folders for the sets.

    healthy/ and mixed/ hold those sets; test/normal/ and test/abnormal/ the test images, which get
    labels 0 and 1; test/mask/ lesion masks, each with the file stem of its test image. Sub-folders
    are searched too, see `images_below`. Every image is its own patient. Raises InputError.
    """
    root = Path(os.path.abspath(folder))
    file = shown_path(folder)
    if not os.path.isdir(root):
        raise InputError(f"{file}: no such folder")
    inside = InsideFolder(root)
    sets = _sets_of(root)
    found = {split: search(root / name) for split, name in sets.items()}
    others = [
        *search(root, sets.values())[1],
        *(path for _, some in found.values() for path in some),
    ]
    images = {
        split: sorted(path.relative_to(root).as_posix() for path in paths)
        for split, (paths, _) in found.items()
    }
    masks = _masks_by_stem([name for name in images.get("test", ()) if _part(name) == "mask"], file)
    rows: list[Row] = []
    for split in ("healthy", "mixed", "test"):
        for name in images.get(split, ()):
            place = f"{file}, {quoted(name)}"
            label, mask = (0 if split == "healthy" else None), None
            if split == "test":
                if _part(name) == "mask":
                    continue
                if _part(name) not in ("normal", "abnormal"):
                    raise InputError(f"{place}: move it into test/normal/ or test/abnormal/")
                label = int(_part(name) == "abnormal")
                mask = masks.pop(_stem(Path(name)), None)
            path = inside.resolve(name, place)
            mask_path = None if mask is None else inside.resolve(mask, place)
            rows.append(Row(name, path, split, label, name, mask_path, None))
    if not rows:
        raise InputError(f"{file}: {_what_is_there(root)} and no manifest.csv; expected {LAYOUT}")
    _check_masks(masks, rows, file)
    names = [
        path.relative_to(root).as_posix() for path in others if path.name.lower() not in NOT_LISTED
    ]
    return Manifest(tuple(rows), root, passed_over=passed_over(names))


def passed_over(names: Sequence[str]) -> tuple[str, ...]:
    """A sentence about files in a folder that are not read as images; none without any."""
    if not names:
        return ()
    shown = name_some([quoted(name) for name in sorted(names)])
    files = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return (f"{files} of no known image format and not read: {shown}",)


def _sets_of(root: Path) -> dict[str, str]:
    """The names, however written, of the sub-folders that hold the sets."""
    found: dict[str, str] = {}
    for entry in sorted(root.iterdir()):
        split = entry.name.lower()
        if split in ("healthy", "mixed", "test") and os.path.isdir(entry):
            if split in found:
                raise InputError(
                    f"{shown_path(root)}: both {found[split]}/ and {entry.name}/; keep one"
                )
            found[split] = entry.name
    return found


def _what_is_there(root: Path) -> str:
    """Describe a folder that lacks the expected sub-folders."""
    inside = sorted(entry for entry in root.iterdir() if not is_hidden(entry.name))
    folders = [entry for entry in inside if os.path.isdir(entry)]
    below = [folder for folder in folders if _sets_of(folder)]
    if below:
        return f"one level too high: give {shown_path(below[0])}, which has the sets;"
    if root.name.lower() in ("healthy", "mixed", "test"):
        return f"one level too low: give the folder above, {shown_path(root.parent)};"
    images = sum(is_image(entry) for entry in inside)
    if images:
        return f"{images} images lie directly in the folder: none is in a set,"
    if folders:
        return f"no images in a set, but the folders {', '.join(f.name for f in folders[:4])}"
    return "no images"


def _part(name: str) -> str:
    """The sub-folder of test/ that a name lies in."""
    return name.split("/")[1].lower()


def _stem(path: Path) -> str:
    """The file's name without its suffix, ".nii.gz" taken as one."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if is_volume(path) else path.stem


def _masks_by_stem(names: Sequence[str], file: str) -> dict[str, str]:
    masks: dict[str, str] = {}
    for name in names:
        stem = _stem(Path(name))
        if stem in masks:
            raise InputError(
                f"{file}: masks {quoted(masks[stem])} and {quoted(name)} have the same file stem; "
                "keep one"
            )
        masks[stem] = name
    return masks


def _check_masks(unused: dict[str, str], rows: Sequence[Row], file: str) -> None:
    """InputError for a mask without its image, or one that several images could claim."""
    for name in unused.values():
        raise InputError(
            f"{file}: mask {quoted(name)} has no test image with the same file stem; "
            "rename or remove it"
        )
    masked = {_stem(row.path): row.name for row in rows if row.mask is not None}
    for row in rows:
        stem = _stem(row.path)
        if row.split == "test" and row.mask is None and stem in masked:
            raise InputError(
                f"{file}: images {quoted(masked[stem])} and {quoted(row.name)} share the file "
                "stem of a mask; rename one or write a manifest.csv"
            )
