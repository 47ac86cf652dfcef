"""Write a prepared set: images, masks and the manifest."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import Parts
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder

PARTS = ("healthy", "mixed", "test")


@dataclass(frozen=True)
class Prepared:
    """A set that was made.

    counts: images of each (split, label). notes: what its user should know, a line each.
    """

    manifest: Path
    counts: Counter[tuple[str, int | None]]
    notes: list[str] = field(default_factory=list)


def write_download(
    out: Path, download: Download, parts: Parts, notes: Sequence[str] = ()
) -> Prepared:
    """Make the folder `out` of files of a download: images/, masks/ of the test, manifest.csv.

    It appears whole or not at all. Rows are sorted by split and name. Raises InputError, also when
    there would be nothing to train with.
    """
    for part in ("healthy", "mixed"):
        if not parts[part]:
            raise InputError(f"{download.root}: too few images, none would be {part}; add more")
    with atomic_folder(out) as folder:
        rows: list[Row] = []
        targets: dict[str, Path] = {}
        for part in PARTS:
            for case in sorted(parts[part], key=lambda case: case.name):
                name = f"images/{case.name}"
                targets[case.file] = folder / name
                mask = None
                if part == "test" and case.mask is not None:
                    suffix = PurePosixPath(case.mask).suffix
                    mask = (folder / "masks" / case.name).with_suffix(suffix)
                    targets[case.mask] = mask
                patient = case.patient or name
                rows.append(Row(name, folder / name, part, case.label, patient, mask, None))
        download.place(targets)
        return write_rows(out, folder, rows, notes)


def write_rows(out: Path, folder: Path, rows: Sequence[Row], notes: Sequence[str]) -> Prepared:
    """Write manifest.csv into `folder`, which is going to be `out`."""
    Manifest(tuple(rows), folder).write(folder / "manifest.csv")
    counts = Counter((row.split, row.label) for row in rows)
    return Prepared(out / "manifest.csv", counts, list(notes))


def missing(absent: int, listed: int, what: str) -> list[str]:
    """The note on files that a table lists and the download lacks; none where all are there."""
    return [f"{absent} of {listed} {what} are not there and were left out"] if absent else []
