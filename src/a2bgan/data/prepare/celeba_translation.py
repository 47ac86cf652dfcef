"""CelebA for translation, the paper's appendix: faces lose their eyeglasses, men become women.

A is what is to be translated, B what it is to become; the official training partition is divided by
one attribute. Test images are those of the other two partitions that are to be translated, which is
where the paper's numbers come from.
"""

from pathlib import Path

import numpy as np

from a2bgan.data.prepare.celeba_files import PARTITION, TRAINING, persons, read_pairs
from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import Case
from a2bgan.data.prepare.writing import Prepared, missing, write_download
from a2bgan.errors import InputError

ATTRIBUTES = "list_attr_celeba"

TASKS = {"eyeglasses": "Eyeglasses", "male2female": "Male"}
"""Attribute that images of A have and those of B lack, by task."""

PAPER = {"eyeglasses": (10_523, 152_251, 2_672), "male2female": (68_261, 94_509, 16_173)}
"""Images of A, of B, and to test, by task."""


def prepare_celeba_translation(
    download: Download,
    files: dict[str, str],
    out: Path,
    task: str,
    *,
    mixed_share: float = 0.0,
    seed: int = 0,
) -> Prepared:
    """Aligned faces as they are. A's labels, 1 with the attribute, are not read by training.

    files: name in the download of each image. task: one of TASKS. mixed_share: of A, images without
    the attribute, which B then lacks; the paper has none. Notes say where the numbers are not the
    paper's. Raises InputError.
    """
    if task not in TASKS:
        raise InputError(f"task {task!r}: use one of {', '.join(TASKS)}")
    if not 0 <= mixed_share < 1:
        raise InputError(f"mixed share {mixed_share}: use a number from 0 to below 1")
    partition, has = read_pairs(download, PARTITION), _attribute(download, TASKS[task])
    people = persons(download)
    listed = [name for name in partition if name in has]
    cases = {
        name: Case(name, files[name], int(has[name]), people.get(name, ""))
        for name in sorted(listed)
        if name in files
    }
    training = [case for name, case in cases.items() if partition[name] == TRAINING]
    mixed, healthy = ([case for case in training if case.label == label] for label in (1, 0))
    test = [case for name, case in cases.items() if partition[name] != TRAINING and case.label]
    counts = len(mixed), len(healthy), len(test)
    notes = missing(len(listed) - len(cases), len(listed), "images")
    if counts != PAPER[task]:
        notes.append(
            "A, B and test have {:,}, {:,} and {:,} images where the paper writes ".format(*counts)
            + "{:,}, {:,} and {:,}".format(*PAPER[task])
        )
    borrowed = round(len(mixed) * mixed_share / (1 - mixed_share))
    if borrowed:
        if borrowed >= len(healthy):
            raise InputError(f"mixed share {mixed_share}: B would be empty; use a smaller one")
        order = np.random.default_rng(seed).permutation(len(healthy))
        mixed += [healthy[i] for i in order[:borrowed]]
        healthy = [healthy[i] for i in order[borrowed:]]
        notes.append(f"A is mixed: {borrowed:,} of its images are without the attribute")
    notes.append("images in colour: train with data.channels=3")
    return write_download(out, download, {"healthy": healthy, "mixed": mixed, "test": test}, notes)


def _attribute(download: Download, attribute: str) -> dict[str, bool]:
    """Read from a list, as first published or .csv, whether each image has an attribute."""
    expected = f"the images, {PARTITION}.txt and {ATTRIBUTES}.txt"
    name = download.find_one((f"{ATTRIBUTES}.txt", f"{ATTRIBUTES}.csv"), expected)
    lines = download.read_text(name).replace(",", " ").splitlines()
    head = next((k for k, line in enumerate(lines[:2]) if attribute in line.split()), None)
    if head is None:
        raise InputError(f"{download.root}, {name}: no attribute {attribute}; get the list again")
    # In the .csv file images have a column name too.
    names = [n for n in lines[head].split() if n != "image_id"]
    column = names.index(attribute) + 1
    found = {}
    for number, line in enumerate(lines[head + 1 :], head + 2):
        cells = line.split()
        if not cells:
            continue
        if len(cells) != len(names) + 1 or cells[column] not in ("1", "-1"):
            raise InputError(
                f"{download.root}, {name}, line {number}: not an image and {len(names)} values of "
                "1 or -1; get the list again"
            )
        found[cells[0]] = cells[column] == "1"
    return found
