"""What `predict` leaves behind: a table of scores and a picture of each image."""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from a2bgan.detection.predict import Prediction
from a2bgan.errors import InputError
from a2bgan.report.pictures import DEFAULT_VMAX, write_triptych

COLUMNS = ("path", "patient_id", "score", "error", "picture")


@dataclass(frozen=True, slots=True)
class Written:
    """How many images were scored and the ones that could not be, as (name, reason)."""

    scored: int
    failures: list[tuple[str, str]]


def write_predictions(
    predictions: Iterable[Prediction],
    out: Path,
    *,
    pictures: bool = True,
    vmax: float = DEFAULT_VMAX,
) -> Written:
    """Write ``scores.csv`` (a row per input, failed ones with their error) and ``pictures/``.

    Each picture shows input, healthy twin and difference over the input, on the scale 0 to
    ``vmax``. Rows are written as they come. Raises InputError if ``out`` cannot be written.
    """
    scored, failures, taken = 0, [], set[str]()
    try:
        (out / "pictures" if pictures else out).mkdir(parents=True, exist_ok=True)
        with (out / "scores.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for p in predictions:
                if p.score is None or p.image is None or p.twin is None or p.difference is None:
                    failures.append((p.input.name, p.error))
                    table.writerow((p.input.name, p.input.patient_id, "", p.error, ""))
                    continue
                scored += 1
                picture = ""
                if pictures:
                    picture = f"pictures/{_free_name(p.input.name, taken)}.png"
                    write_triptych(
                        out / picture, p.image, p.twin, p.difference, score=p.score, vmax=vmax
                    )
                row = (p.input.name, p.input.patient_id, f"{p.score:.6f}", "", picture)
                table.writerow(row)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    return Written(scored, failures)


def _free_name(name: str, taken: set[str]) -> str:
    """The file's own name without suffix; a number is added where two share it."""
    stem = PurePosixPath(name).stem
    free, number = stem, 1
    while free in taken:
        number += 1
        free = f"{stem}-{number}"
    taken.add(free)
    return free
