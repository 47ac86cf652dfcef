"""Images and patients that are in two sets, so that one set cannot measure what another taught."""

import hashlib
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Literal, NamedTuple

from a2bgan.data.formats.slice_names import volume_of
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.pseudonyms import identify, pseudonym
from a2bgan.errors import InputError, name_some

SETS = ("healthy", "mixed", "test")
"""Splits that must have no patient and no image in common."""

Keys = tuple[Callable[[str], object], ...]

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

    def who(row: Row) -> str:
        return identify(Path(volume_of(row.path)), row.named_patient)

    return _find(learned, others, same_files(learned, others), who)


def _find(
    learned: Sequence[Row],
    others: Sequence[Row],
    same: Mapping[str, str],
    who: Callable[[Row], str],
) -> list[Leak]:
    patients = {_patient_of(row) for row in learned} - {""}
    found = []
    for row in others:
        if (file := volume_of(row.path)) in same:
            found.append(Leak(row, "image", f"{same[file]} = {volume_of(row.name)}"))
        elif (patient := who(row)) in patients:
            found.append(Leak(row, "patient", row.named_patient or patient))
    return found


def same_files(learned: Sequence[Row], others: Sequence[Row]) -> dict[str, str]:
    """Names of the files of `learned` that files of `others` equal, by the latter's path."""
    return _same_files(learned, others, _keys())


def describe_leaks(leaks: Iterable[Leak], one: str, other: str) -> list[str]:
    """A sentence for the patients and one for the images that two sets have in common."""
    names: dict[str, dict[str, None]] = {"patient": {}, "image": {}}
    for leak in leaks:
        names[leak.of][leak.name] = None
    sentences = []
    if shared := list(names["patient"]):
        some = "1 patient has" if len(shared) == 1 else f"{len(shared)} patients have"
        sentences.append(
            f"{some} images both in {one} and in {other} ({name_some(shared)}); keep all images of "
            "a patient in one set"
        )
    if shared := list(names["image"]):
        some = "1 identical file is" if len(shared) == 1 else f"{len(shared)} identical files are"
        sentences.append(
            f"{some} both in {one} and in {other} ({name_some(shared)}); remove one of each"
        )
    return sentences


def leaks_within(manifest: Manifest) -> list[str]:
    """Describe what any two of `SETS` have in common, a sentence for each kind of it.

    Patients are those of the manifest, which `open_data` has identified.
    """
    keys = _keys()
    sentences = []
    for one, other in combinations(SETS, 2):
        learned, others = manifest.split(one), manifest.split(other)
        same = _same_files(learned, others, keys)
        found = _find(learned, others, same, _patient_of)
        sentences += describe_leaks(found, one, other)
    return sentences


def _patient_of(row: Row) -> str:
    """The pseudonym of a row's patient; "" where the manifest does not know."""
    return pseudonym(row.named_patient) if row.named_patient else ""


def refuse_leaks(sentences: Sequence[str]) -> None:
    """InputError with what was found, if anything was, and how to go on all the same."""
    if sentences:
        found = "; ".join(sentences)
        raise InputError(f"{found}; or give allow_leaks=True, and what is measured is too good")


def _keys() -> Keys:
    """Functions of files that are equal for equal files, the cheapest first; each remembers."""
    return cache(_size), cache(_blocks), cache(_digest)


def _same_files(learned: Sequence[Row], others: Sequence[Row], keys: Keys) -> dict[str, str]:
    """`same_files` by keys.

    Only files of one size are opened, and only those whose `BLOCK`s are equal are read whole.
    """
    one, other = (
        {volume_of(row.path): volume_of(row.name) for row in rows} for rows in (learned, others)
    )
    real = {os.path.realpath(file): name for file, name in one.items()}
    found = {file: real[path] for file in other if (path := os.path.realpath(file)) in real}
    left: list[tuple[list[str], list[str]]] = [(list(one), [f for f in other if f not in found])]
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
            with suppress(OSError):  # its reader says that it cannot be read
                groups[key(file)][side].append(file)
    return [pair for value, pair in groups.items() if value is not None and all(pair)]


def _size(file: str) -> int | None:
    status = os.stat(file)
    return status.st_size if stat.S_ISREG(status.st_mode) and status.st_size else None


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
