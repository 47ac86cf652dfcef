"""Sets in the layout of MVTec AD: train/good, test/DEFECT, ground_truth/DEFECT."""

import posixpath
from collections import defaultdict
from pathlib import Path

from a2bgan.data.formats.kinds import KIND_OF_SUFFIX, image_suffix
from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import Case, borrow_mixed, require_share
from a2bgan.data.prepare.writing import Prepared, write_download
from a2bgan.errors import InputError

LAYOUT = "one category, such as bottle/: train/good/, test/good/, test/DEFECT/ and ground_truth/"


def prepare_mvtec(root: Path, out: Path, *, mixed_share: float = 0.5, seed: int = 0) -> Prepared:
    """Make healthy and test sets of them, and the mixed set they lack.

    mixed_share: of the images of each defect, at random, that leaves the test set for the mixed
        set; as many training images join them. Test images keep their masks. Raises InputError.
    """
    require_share(mixed_share)
    download = Download(root)
    images = [name for name in download.names if image_suffix(Path(name)) in KIND_OF_SUFFIX]
    categories = sorted({name.split("train/good/")[0] for name in images if _has_training(name)})
    if not categories:
        raise InputError(f"{root}: no images in train/good/; expected {LAYOUT}")
    if len(categories) > 1:
        known = ", ".join(category.rstrip("/") or "." for category in categories)
        raise InputError(f"{root}: several categories ({known}); give the folder of one as --root")
    top = categories[0]
    present = set(download.names)
    normal: list[Case] = []
    test: list[Case] = []
    defects: dict[str, list[Case]] = defaultdict(list)
    for file in images:
        name = file.removeprefix(top)
        side, _, rest = name.partition("/")
        defect = posixpath.dirname(rest)
        if (side, defect) == ("train", "good"):
            normal.append(Case(name, file, 0))
        elif (side, defect) == ("test", "good"):
            test.append(Case(name, file, 0))
        elif side == "test" and defect:
            stem = f"{top}ground_truth/{posixpath.splitext(rest)[0]}"
            masks = (f"{stem}_mask.png", f"{stem}.png")
            mask = next((mask for mask in masks if mask in present), None)
            defects[defect].append(Case(name, file, 1, mask=mask))
    if not defects:
        raise InputError(f"{root}: no images in test/DEFECT/; expected {LAYOUT}")
    kinds = [sorted(defects[defect], key=lambda case: case.name) for defect in sorted(defects)]
    normal.sort(key=lambda case: case.name)
    parts, left = borrow_mixed(normal, kinds, mixed_share, seed)
    abnormal = sum(map(len, kinds))
    note = (
        f"the layout has no mixed set: it has {abnormal - len(left)} of {abnormal} defective test "
        "images and as many good training images, so results do not compare with published ones"
    )
    return write_download(out, download, {**parts, "test": test + left}, [note])


def _has_training(name: str) -> bool:
    return name.startswith("train/good/") or "/train/good/" in name
