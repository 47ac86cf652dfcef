"""Divide images into healthy, mixed and test: by patient, as the paper drew them, or by lists."""

import posixpath
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

HOW = ("patient", "paper")


@dataclass(frozen=True, slots=True)
class Case:
    """One image of a public set.

    name: of its file below images/ of the set that is made. file: its name in the download.
    label: 1 abnormal, 0 normal. patient: empty where it is not known.
    mask: name in the download of the lesion mask, which test images keep.
    """

    name: str
    file: str
    label: int
    patient: str = ""
    mask: str | None = None


Parts = Mapping[str, Sequence[Case]]
"""The cases of healthy, mixed and test."""


def require_split(how: str) -> None:
    """InputError unless `how` is one of HOW."""
    if how not in HOW:
        raise InputError(f"split {how!r}: use {' or '.join(HOW)}")


def require_share(share: float) -> None:
    """InputError unless `share` lies between 0 and 1."""
    if not 0 < share < 1:
        raise InputError(f"mixed share {share}: use a number between 0 and 1")


def divide(
    cases: Sequence[Case], counts: SetCounts, how: str, *, seed: int, scale: bool, root: Path
) -> dict[str, list[Case]]:
    """Draw healthy, mixed and test from `cases`, at random; the rest is in none of them.

    how: "paper" draws image by image, exactly `counts`; patients may be on several sides.
        "patient" puts every patient on one side and the healthy side has only patients without an
        abnormal image; numbers are `counts` or a little less.
    scale: where there are too few images, let "paper" draw the same proportions of them, which
        "patient" does anyway.
    root: for messages. The order of `cases` does not matter. Raises InputError.
    """
    require_split(how)
    found = Counter(case.label for case in cases)
    drawn = counts.fitting(found[0], found[1])
    if how == "paper" and drawn != counts and not scale:
        raise InputError(
            f"{root}: the paper's split needs {counts.normal} normal and {counts.abnormal} "
            f"abnormal images, found {found[0]} and {found[1]}; add --scale for the same "
            "proportions of them, or use --split patient"
        )
    if any(
        number == 0 < wanted for number, wanted in zip(astuple(drawn), astuple(counts), strict=True)
    ):
        raise InputError(
            f"{root}: {found[0]} normal and {found[1]} abnormal images are too few to divide; "
            "add images"
        )
    rng = np.random.default_rng(seed)
    ordered = sorted(cases, key=lambda case: case.name)
    return (_by_image if how == "paper" else _by_patient)(ordered, drawn, rng)


def divide_by_lists(
    cases: Mapping[str, Sequence[Case]], lists: Path, what: str
) -> tuple[dict[str, list[Case]], list[str]]:
    """The cases that lists of file names put into healthy, mixed and test.

    cases: for each part, those that it may have. lists: a folder with healthy.txt, mixed.txt and
        test.txt, a file name a line. what: the cases are, for the note on names that are none.

    Returns the parts and notes. Raises InputError where a list is missing or empty, a name is
    listed twice, or several files have it.
    """
    parts: dict[str, list[Case]] = {}
    notes: list[str] = []
    listed: dict[tuple[str, str], str] = {}
    for part, among in cases.items():
        file = lists / f"{part}.txt"
        try:
            names = [line.strip() for line in file.read_text("utf-8-sig").splitlines()]
        except (OSError, UnicodeDecodeError):
            raise InputError(
                f"{file}: cannot be read; --lists is a folder with healthy.txt, mixed.txt and "
                "test.txt, text with a file name a line"
            ) from None
        known: dict[str, Case] = {}
        doubles: dict[str, Case] = {}  # two files of a name
        for one in among:
            name = posixpath.basename(one.file)
            if known.setdefault(name, one).file != one.file:
                doubles[name] = one
        parts[part] = []
        absent = 0
        wanted = [posixpath.basename(name) for name in names if name]
        for name in wanted:
            case = known.get(name)
            if case is None:
                absent += 1
                continue
            if name in doubles:
                raise InputError(
                    f"{file}: {name} may be {case.file} or {doubles[name].file}; rename one of "
                    "them, or leave the name out"
                )
            # The same name may be in two folders of a download; the same file is listed once.
            if (earlier := listed.get((name, case.file))) is not None:
                raise InputError(f"{file}: {name} is in {earlier}.txt already; list it once")
            listed[name, case.file] = part
            parts[part].append(case)
        if not parts[part]:
            raise InputError(f"{file}: none of its {len(wanted)} names is among the {what}")
        if absent:
            notes.append(
                f"{absent} of {len(wanted)} names in {part}.txt are not among the {what} and were "
                "left out"
            )
    abnormal = sum(case.label == 1 for case in parts["healthy"])
    if abnormal:
        notes.append(f"{abnormal} images in healthy.txt are abnormal by the data set's own labels")
    return parts, notes


def shortfall(parts: Parts, counts: SetCounts) -> list[str]:
    """The note that there are fewer images than in the paper; none where there are not."""
    drawn, wanted = sum(map(len, parts.values())), counts.total
    return [f"{drawn} images where the paper has {wanted}"] if drawn < wanted else []


def borrow_mixed(
    normal: Sequence[Case], abnormal: Sequence[Sequence[Case]], share: float, seed: int
) -> tuple[dict[str, list[Case]], list[Case]]:
    """Make a mixed set where there is none: abnormal images and as many normal ones.

    abnormal: kinds of abnormality; `share` of each is taken, rounded, at least one and never all.
    Returns the parts healthy and mixed, and the abnormal images that are left. At most half of the
    normal images are taken.
    """
    rng = np.random.default_rng(seed)
    taken: list[Case] = []
    left: list[Case] = []
    for kind in abnormal:
        shuffled = [kind[i] for i in rng.permutation(len(kind))]
        number = min(max(round(share * len(kind)), 1), len(kind) - 1)
        taken += shuffled[:number]
        left += shuffled[number:]
    order = [normal[i] for i in rng.permutation(len(normal))]
    number = min(len(taken), len(normal) // 2)
    return {"mixed": [*order[:number], *taken], "healthy": order[number:]}, left


def _by_image(
    cases: Sequence[Case], counts: SetCounts, rng: np.random.Generator
) -> dict[str, list[Case]]:
    shuffled = [cases[i] for i in rng.permutation(len(cases))]
    normal = [case for case in shuffled if case.label == 0]
    abnormal = [case for case in shuffled if case.label == 1]
    mixed_end = counts.healthy + counts.mixed_normal
    return {
        "healthy": normal[: counts.healthy],
        "mixed": normal[counts.healthy : mixed_end] + abnormal[: counts.mixed_abnormal],
        "test": normal[mixed_end : counts.normal]
        + abnormal[counts.mixed_abnormal : counts.abnormal],
    }


def _by_patient(
    cases: Sequence[Case], counts: SetCounts, rng: np.random.Generator
) -> dict[str, list[Case]]:
    images: dict[str, tuple[list[Case], list[Case]]] = defaultdict(lambda: ([], []))
    for case in cases:
        images[case.patient or case.name][case.label].append(case)
    patients = list(images)
    patients = [patients[i] for i in rng.permutation(len(patients))]
    side: dict[str, str] = {}
    parts: dict[str, list[Case]] = {"healthy": [], "mixed": [], "test": []}

    def fill(part: str, label: int, wanted: int) -> None:
        candidates = [
            patient
            for patient in patients
            if side.get(patient, part) == part and not (part == "healthy" and images[patient][1])
        ]
        # Whole patients as long as they fit; then a part of the images of one that does not.
        cut = []
        for patient in candidates:
            found = images[patient][label]
            if len(found) > wanted:
                cut.append(patient)
            elif found:
                side[patient] = part
                parts[part] += found
                wanted -= len(found)
        if wanted and cut:
            side[cut[0]] = part
            parts[part] += images[cut[0]][label][:wanted]

    fill("test", 1, counts.test_abnormal)
    fill("mixed", 1, counts.mixed_abnormal)
    fill("test", 0, counts.test_normal)
    fill("mixed", 0, counts.mixed_normal)
    fill("healthy", 0, counts.healthy)
    return parts
