"""ChestX-ray8 (also ChestX-ray14) of the NIH: one finding against none."""

import csv
import io
import posixpath
import re
from pathlib import Path

from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import (
    Case,
    divide,
    divide_by_lists,
    require_split,
    shortfall,
)
from a2bgan.data.prepare.writing import PARTS, Prepared, missing, write_download
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

PAPER = SetCounts(20_657, 2_111, 905, test_normal=7_589, test_abnormal=301)
"""Drawn from 39,302 PA images without a finding and 1,563 with Cardiomegaly."""

NO_FINDING = "No Finding"
VIEWS = ("PA", "AP", "any")
COLUMNS = ("Image Index", "Finding Labels", "Patient ID", "View Position")
LAYOUT = (
    "Data_Entry_2017.csv (or Data_Entry_2017_v2020.csv) and the images, in images*/ folders or "
    "their archives"
)


def prepare_chestxray8(
    root: Path,
    out: Path,
    *,
    split: str = "patient",
    seed: int = 0,
    scale: bool = False,
    finding: str = "Cardiomegaly",
    view: str = "PA",
    lists: Path | None = None,
    counts: SetCounts = PAPER,
) -> Prepared:
    """Images with `finding` among their labels are abnormal, those without any are normal.

    view: PA, AP or any. Images with other findings only are left out.
    split: "paper" draws `counts` image by image, "patient" the same with every patient on one
        side. scale: let "paper" make do with fewer images.
    lists: a folder with the file names of each part, in place of a split; their view is free.
    Raises InputError.
    """
    require_split(split)
    if view not in VIEWS:
        raise InputError(f"view {view!r}: use one of {', '.join(VIEWS)}")
    download = Download(root)
    files: dict[str, str] = {}
    for file in download.names:
        files.setdefault(posixpath.basename(file), file)
    cases: list[Case] = []
    findings: set[str] = set()
    listed = 0
    for image, labels, patient, its_view in _read_table(download):
        findings |= labels
        label = int(finding in labels)
        if (not label and labels != {NO_FINDING}) or (
            lists is None and view not in (its_view, "any")
        ):
            continue
        listed += 1
        if image in files:
            cases.append(Case(image, files[image], label, patient))
    if finding == NO_FINDING or finding not in findings:
        known = ", ".join(sorted(findings - {NO_FINDING}))
        raise InputError(f"{root}: no finding {finding!r}; use one of {known}")
    if not cases:
        raise InputError(
            f"{root}: none of the {listed} images that the table lists is there; expected {LAYOUT}"
        )
    notes = missing(listed - len(cases), listed, "images of the table")
    if lists is not None:
        what = f"images with {finding} or without a finding"
        parts, more = divide_by_lists(dict.fromkeys(PARTS, cases), lists, what)
        return write_download(out, download, parts, notes + more)
    parts = divide(cases, counts, split, seed=seed, scale=scale, root=root)
    return write_download(out, download, parts, notes + shortfall(parts, counts))


def _read_table(download: Download) -> list[tuple[str, set[str], str, str]]:
    """(file name, findings, patient, view) of each image."""
    name = download.find_one(("Data_Entry_2017*.csv",), LAYOUT)
    # The header has two commas in brackets, so names behind them are off by some; these are before.
    lines = csv.reader(io.StringIO(download.read_text(name), newline=""))
    header = [_letters(cell) for cell in next(lines, [])]
    absent = [column for column in COLUMNS if _letters(column) not in header]
    if absent:
        raise InputError(
            f"{download.root}, {name}: no column {', '.join(absent)}; get the table again"
        )
    image, labels, patient, view = (header.index(_letters(column)) for column in COLUMNS)
    rows = []
    for cells in lines:
        if not cells:
            continue
        if len(cells) <= max(image, labels, patient, view):
            raise InputError(
                f"{download.root}, {name}, line {lines.line_num}: too few columns; "
                "get the table again"
            )
        rows.append((cells[image], set(cells[labels].split("|")), cells[patient], cells[view]))
    return rows


def _letters(column: str) -> str:
    return re.sub("[^a-z]", "", column.lower())
