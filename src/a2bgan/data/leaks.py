"""Images and patients that are in two sets, so that one set cannot measure what another taught."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

from a2bgan.data.manifest import Manifest, Row, identify
from a2bgan.data.pseudonyms import pseudonym
from a2bgan.data.slice_names import volume_of
from a2bgan.errors import InputError, name_some

SETS = ("healthy", "mixed", "test")
"""Splits that must have no patient and no image in common."""

BLOCK = 2**16
"""Bytes at the beginning, the middle and the end of files of one size that are compared first."""


class Leak(NamedTuple):
    """A row of one set that is in another set too: the same patient, or the same image."""

    row: Row
    of: Literal["patient", "image"]
    name: str


def find_leaks(learned: Sequence[Row], others: Sequence[Row]) -> list[Leak]:
    """The rows of `others` whose image or patient is in `learned`, in order.

    An image is the same when its file is (of a slice its volume) or has the same bytes, whatever it
    is called; a patient under identifier and pseudonym. ``name`` is the patient's, or "learned file
    = other file".
    """
    patients = {pseudonym(known) for row in learned if (known := row.named_patient)}
    same = _same_files(learned, others)
    found = []
    for row in others:
        file = volume_of(row.path)
        if file in same:
            found.append(Leak(row, "image", f"{same[file]} = {volume_of(row.name)}"))
        elif (who := identify(Path(file), known := row.named_patient)) in patients:
            found.append(Leak(row, "patient", known or who))
    return found


def describe_leaks(leaks: Iterable[Leak], one: str, other: str) -> list[str]:
    """A sentence for the patients and one for the images that two sets have in common."""
    names: dict[str, dict[str, None]] = {"patient": {}, "image": {}}
    for leak in leaks:
        names[leak.of][leak.name] = None
    said = []
    if shared := list(names["patient"]):
        some = "1 patient has" if len(shared) == 1 else f"{len(shared)} patients have"
        said.append(
            f"{some} images both in {one} and in {other} ({name_some(shared)}); keep all images of "
            "a patient in one set"
        )
    if shared := list(names["image"]):
        some = "1 identical file is" if len(shared) == 1 else f"{len(shared)} identical files are"
        said.append(
            f"{some} both in {one} and in {other} ({name_some(shared)}); remove one of each"
        )
    return said


def leaks_within(manifest: Manifest) -> list[str]:
    """Describe what any two of `SETS` have in common, a sentence for each kind of it."""
    said = []
    for one, other in combinations(SETS, 2):
        found = find_leaks(manifest.split(one), manifest.split(other))
        said += describe_leaks(found, one, other)
    return said


def refuse_leaks(said: Sequence[str], remedy: str) -> None:
    """InputError with what was found, if anything was, and how to go on all the same."""
    if said:
        raise InputError(f"{'; '.join(said)}; or {remedy}")


def _same_files(learned: Sequence[Row], others: Sequence[Row]) -> dict[str, str]:
    """For each file of `others` that is one of `learned` the name of that one.

    Only files of one size are opened, and only those whose `BLOCK`s are equal are read whole.
    """
    one, other = (
        {volume_of(row.path): volume_of(row.name) for row in rows} for rows in (learned, others)
    )
    real = {os.path.realpath(file): name for file, name in one.items()}
    found = {file: real[path] for file in other if (path := os.path.realpath(file)) in real}
    left: list[tuple[list[str], list[str]]] = [(list(one), [f for f in other if f not in found])]
    keys: tuple[Callable[[str], object], ...] = (_size, _blocks, _digest)
    for key in keys:
        left = [pair for files in left for pair in _matched(*files, key)]
    for same, others_of_it in left:
        found |= dict.fromkeys(others_of_it, one[same[0]])
    return found


def _matched(
    one: list[str], other: list[str], key: Callable[[str], object]
) -> list[tuple[list[str], list[str]]]:
    """The files of two lists that have the same key, by key."""
    groups: dict[object, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for side, files in enumerate((one, other)):
        for file in files:
            try:
                groups[key(file)][side].append(file)
            except OSError:
                continue  # it is said elsewhere that it cannot be read
    return [pair for value, pair in groups.items() if value is not None and all(pair)]


def _size(file: str) -> int | None:
    status = os.stat(file)
    return status.st_size if os.path.isfile(file) and status.st_size else None


def _blocks(file: str) -> bytes:
    with open(file, "rb") as stream:
        size = os.fstat(stream.fileno()).st_size
        parts = []
        for start in (0, size // 2, max(0, size - BLOCK)):
            stream.seek(start)
            parts.append(stream.read(BLOCK))
    return hashlib.sha256(b"".join(parts)).digest()


def _digest(file: str) -> bytes:
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()
