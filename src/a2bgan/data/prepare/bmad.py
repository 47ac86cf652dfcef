"""Sets in the layout of BMAD: train/good, and valid and test with good and Ungood.

Benchmarks for Medical Anomaly Detection (Bao et al., CVPR workshops 2024): brain MR, liver CT,
retinal OCT (RESC, OCT2017), chest X-rays (RSNA) and histopathology (Camelyon16).
"""

import posixpath
import re
from pathlib import Path

from a2bgan.data.formats.kinds import KIND_OF_SUFFIX, image_suffix
from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import Case, borrow_mixed, require_share
from a2bgan.data.prepare.writing import Prepared, write_download
from a2bgan.errors import InputError

LAYOUT = (
    "one set, such as Brain_AD/: train/good/, valid/good/, valid/Ungood/, test/good/ and "
    "test/Ungood/, with images in them or, where there are masks, in img/ and label/"
)

# Places below the set's folder; train and valid may be split in parts, such as good_a and good_b.
_PLACE = re.compile(
    r"(?P<top>(.*/)?)(?P<side>train|valid|test)/(?P<kind>good|ungood)(?P<part>_[a-z])?/"
    r"((?P<what>img|label|anomaly_mask)/)?(?P<name>[^/]+)",
    re.IGNORECASE,
)


def prepare_bmad(
    root: Path, out: Path, *, mixed_share: float | None = None, seed: int = 0
) -> Prepared:
    """Make healthy of the training images and mixed of the validation images, normal and abnormal.

    mixed_share, seed: with a share, that much of the abnormal test images and as many training
        images become mixed too: some validation sets have only 32 images. Without one the test set
        is the published one. Test images keep their masks. Raises InputError.
    """
    if mixed_share is not None:
        require_share(mixed_share)
    download = Download(root)
    images: list[tuple[re.Match[str], str]] = []
    masks: dict[tuple[str, str], str] = {}
    for file in download.names:
        found = _PLACE.fullmatch(file)
        if found is None or image_suffix(Path(file)) not in KIND_OF_SUFFIX:
            continue
        if (found["what"] or "img").lower() == "img":
            images.append((found, file))
        else:
            masks[_key(found)] = file
    tops = sorted({found["top"] for found, _ in images})
    if len(tops) > 1:
        known = ", ".join(top.rstrip("/") or "." for top in tops)
        raise InputError(f"{root}: several sets ({known}); give the folder of one as --root")
    parts: dict[tuple[str, int], list[Case]] = {
        (side, label): [] for side in ("train", "valid", "test") for label in (0, 1)
    }
    for found, file in images:
        side, label = found["side"].lower(), int(found["kind"].lower() == "ungood")
        name = file.removeprefix(found["top"])
        parts[side, label].append(Case(name, file, label, mask=masks.get(_key(found))))
    for side, label, folder in (
        ("train", 0, "train/good/"),
        ("valid", 1, "valid/Ungood/"),
        ("test", 1, "test/Ungood/"),
    ):
        if not parts[side, label]:
            raise InputError(f"{root}: no images in {folder}; expected {LAYOUT}")
    for cases in parts.values():
        cases.sort(key=lambda case: case.name)
    notes = ["patients are not known: one may be on both sides"]
    split = {"healthy": parts["train", 0], "mixed": parts["valid", 0] + parts["valid", 1]}
    abnormal = parts["test", 1]
    if mixed_share is not None:
        borrowed, left = borrow_mixed(split["healthy"], [abnormal], mixed_share, seed)
        split = {"healthy": borrowed["healthy"], "mixed": split["mixed"] + borrowed["mixed"]}
        notes.append(
            f"the mixed set has {len(abnormal) - len(left)} of {len(abnormal)} abnormal test "
            "images, so results do not compare with published ones"
        )
        abnormal = left
    return write_download(out, download, {**split, "test": parts["test", 0] + abnormal}, notes)


def _key(found: re.Match[str]) -> tuple[str, str]:
    """Key that an image and its mask share: the folder and the name without its suffix."""
    return f"{found['side']}/{found['kind']}{found['part']}".lower(), posixpath.splitext(
        found["name"]
    )[0]
