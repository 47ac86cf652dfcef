"""Files in a download of CelebA: images, and lists of the official partition and of persons."""

import posixpath
import re

from a2bgan.data.prepare.downloads import Download
from a2bgan.errors import InputError

IMAGES = "img_align_celeba"
PARTITION = "list_eval_partition"
IDENTITY = "identity_CelebA"
LAYOUT = f"the folder {IMAGES}/ or {IMAGES}.zip, and {PARTITION}.txt"

TRAINING, TEST = "0", "2"
"""Numbers of the official partition; 1 is validation."""


def face_files(download: Download) -> dict[str, str]:
    """Name in the download of each image, by its own name. Raises InputError without any."""
    files: dict[str, str] = {}
    for file in download.names:
        folder, name = posixpath.split(file)
        if posixpath.basename(folder) == IMAGES and name.lower().endswith((".jpg", ".png")):
            files.setdefault(name, file)
    if not files:
        raise InputError(f"{download.root}: no images in {IMAGES}/; expected {LAYOUT}")
    return files


def persons(download: Download) -> dict[str, str]:
    """The person in each image, where the download says so."""
    there = any(posixpath.basename(name).startswith(f"{IDENTITY}.") for name in download.names)
    return read_pairs(download, IDENTITY) if there else {}


def read_pairs(download: Download, stem: str) -> dict[str, str]:
    """File name and number of each line of a list, .txt as first published or .csv."""
    name = download.find_one((f"{stem}.txt", f"{stem}.csv"), LAYOUT)
    pairs = {}
    for number, line in enumerate(download.read_text(name).splitlines(), 1):
        cells = re.split(r"[,\s]+", line.strip())
        if len(cells) == 2 and cells[1].isdecimal():
            pairs[cells[0]] = cells[1]
        elif line.strip() and number > 1:  # a CSV file has a header
            raise InputError(
                f"{download.root}, {name}, line {number}: not an image and a number; "
                "get the list again"
            )
    return pairs
