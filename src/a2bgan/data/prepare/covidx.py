"""COVIDx CXR: chest X-rays with and without COVID-19, with an official test set."""

import posixpath
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import (
    Case,
    divide,
    divide_by_lists,
    require_split,
    shortfall,
)
from a2bgan.data.prepare.writing import Prepared, missing, write_download
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

PAPER = SetCounts(10_031, 3_663, 1_570, test_normal=100, test_abnormal=100)
"""Drawn from the training images of version 7B; its test set has 100 and 100."""

LABELS = {"negative": 0, "normal": 0, "pneumonia": 0, "positive": 1, "covid-19": 1}

LAYOUT = "the folders train/ and test/ with their lists train.txt and test.txt (train_*.txt)"

# Patients such as "COVID 12" have a space; the last column, the source, is not in every version.
_LINE = re.compile(
    r"(?P<patient>\S.*?)\s+(?P<file>\S+\.(?:png|jpe?g))\s+(?P<label>\S+)(?:\s+\S+)?", re.IGNORECASE
)


def prepare_covidx(
    root: Path,
    out: Path,
    *,
    split: str = "patient",
    seed: int = 0,
    scale: bool = False,
    lists: Path | None = None,
    counts: SetCounts = PAPER,
) -> Prepared:
    """COVID-19 is abnormal, all else normal; the test set is the official one.

    split: "paper" draws `counts` image by image and wants the official test set to be theirs;
        "patient" keeps patients of the test set out of training and others on one side.
    scale: let "paper" make do with other numbers of images.
    lists: a folder with the file names of each part, in place of a split: healthy and mixed ones
        of train/, test ones of test/. Raises InputError.
    """
    require_split(split)
    download = Download(root)
    training, notes = _read_list(download, "train")
    test, more = _read_list(download, "test")
    if lists is not None:
        sides = {"healthy": training, "mixed": training, "test": test}
        parts, others = divide_by_lists(sides, lists, "images of the download's own lists")
        return write_download(out, download, parts, notes + more + others)
    found = Counter(case.label for case in test)
    if (
        split == "paper"
        and not scale
        and (found[0], found[1]) != (counts.test_normal, counts.test_abnormal)
    ):
        raise InputError(
            f"{root}: the paper's test set has {counts.test_normal} negative and "
            f"{counts.test_abnormal} positive images, found {found[0]} and {found[1]}; get "
            "COVIDx 7B, add --scale, or use --split patient"
        )
    if split == "patient":
        in_test = {case.patient for case in test}
        training = [case for case in training if case.patient not in in_test]
    drawn = replace(counts, test_normal=0, test_abnormal=0)
    parts = divide(training, drawn, split, seed=seed, scale=scale, root=root)
    parts["test"] = test
    return write_download(out, download, parts, notes + more + shortfall(parts, counts))


def _read_list(download: Download, side: str) -> tuple[list[Case], list[str]]:
    """The images of train/ or test/ that are there, and a note on the others."""
    name = download.find_one((f"{side}.txt", f"{side}*.txt"), LAYOUT)
    files: dict[str, str] = {}
    for file in download.names:
        if posixpath.basename(posixpath.dirname(file)) == side:
            files.setdefault(posixpath.basename(file), file)
    cases: dict[str, Case] = {}
    listed = 0
    for number, line in enumerate(download.read_text(name).splitlines(), 1):
        if not line.strip():
            continue
        match = _LINE.fullmatch(line.strip())
        label = LABELS.get(match["label"].lower()) if match else None
        if match is None or label is None:
            raise InputError(
                f"{download.root}, {name}, line {number}: not 'patient file class source' with a "
                f"class of {', '.join(LABELS)}; get the list again"
            )
        listed += 1
        image = match["file"]
        if image in files:
            cases[image] = Case(f"{side}/{image}", files[image], label, match["patient"])
    if not cases:
        raise InputError(
            f"{download.root}: none of the {listed} images of {name} is in {side}/; "
            f"expected {LAYOUT}"
        )
    absent = listed - len(cases)
    return list(cases.values()), missing(absent, listed, f"images of {name}")
