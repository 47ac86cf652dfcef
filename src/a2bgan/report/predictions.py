"""What `predict` leaves behind: a table of scores and a picture of each image."""

import csv
import os
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.atomic_folder import atomic_file
from a2bgan.data.readers import ImageError
from a2bgan.detection.calibration import Calibration, drift, intensities
from a2bgan.detection.prediction import Prediction
from a2bgan.errors import InputError
from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.report.pictures import write_triptych
from a2bgan.report.written_names import escaped, free_name, no_formula

COLUMNS = ("path", "patient_id", "score", "p_value", "flagged", "error", "picture")


@dataclass(frozen=True, slots=True)
class Written:
    """How many images were scored and the ones that could not be, as (name, reason).

    patients, flagged: how many patients there were among them and how many of those were flagged;
    drift: sentences on how the images differ from those of calibration.
    """

    scored: int
    failures: list[tuple[str, str]]
    patients: int
    flagged: int
    drift: list[str]


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row of the table that has a score.

    patient: "" where nobody knows whose it is; person: what tells patients apart all the same.
    images: (3, n) score, mean and standard deviation of the image or of each slice.
    """

    name: str
    patient: str
    person: str
    score: float
    images: np.ndarray
    picture: str


def write_predictions(
    predictions: Iterable[Prediction],
    out: Path,
    *,
    calibration: Calibration | None = None,
    rate: float = 0.05,
    pictures: bool = True,
    vmax: float = DIFFERENCE_SCALE,
) -> Written:
    """Write ``scores.csv`` (a row per input, failed ones with their error) and ``pictures/``; of
    volumes ``NAME_anomaly.nii.gz`` too, the map in the volume's own voxels.

    Each picture shows input, healthy twin and anomaly map over the input, on the scale 0 to
    ``vmax``; pictures are written while the next images are scored. Rows are written as they come
    and, with a calibration, once more at the end with ``p_value`` and ``flagged`` (1 where p <=
    ``rate``), which depend on all images of a patient.
    Raises InputError if ``out`` cannot be written.
    """
    rows: list[_Scored | tuple[str, str, str]] = []
    taken = dict[str, int]()
    try:
        (out / "pictures" if pictures else out).mkdir(parents=True, exist_ok=True)
        with (
            (out / "scores.csv").open("w", newline="", encoding="utf-8") as file,
            _Painters() as painters,
        ):
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for p in predictions:
                shown, patient = escaped(p.input.name), escaped(p.input.patient_id)
                if p.score is None or p.image is None:
                    rows.append((shown, patient, escaped(p.error)))
                else:
                    name = picture = ""
                    if pictures or p.volume_map is not None:
                        name = free_name(p.input.name, taken)
                    if pictures:
                        picture = f"pictures/{name}.png"
                        painters.paint(out / picture, p, vmax)
                    if p.volume_map is not None:
                        _write_volume_map(out / f"{name}_anomaly.nii.gz", p)
                    images = p.slices
                    if images is None:
                        images = np.vstack([[p.score], *intensities(p.image[None])])
                    person = p.input.person
                    rows.append(_Scored(shown, patient, person, p.score, images, picture))
                table.writerow(_cells(rows[-1], None, rate))
        scored = [row for row in rows if isinstance(row, _Scored)]
        failures = [(row[0], row[2]) for row in rows if not isinstance(row, _Scored)]
        people = [row.person for row in scored]
        flagged = 0
        sentences: list[str] = []
        if calibration is not None and scored:
            scores, means, deviations = np.concatenate([row.images for row in scored], axis=1)
            counts = [row.images.shape[1] for row in scored]
            behind = [who for who, n in zip(people, counts, strict=True) for _ in range(n)]
            first = np.cumsum([0, *counts[:-1]])
            p_values = calibration.p_values(behind, scores)[first]
            sentences = drift(calibration, behind, scores, means, deviations)
            flagged = len({who for who, p in zip(people, p_values, strict=True) if p <= rate})
            p_of = dict(zip(map(id, scored), p_values.tolist(), strict=True))
            with (
                atomic_file(out / "scores.csv") as partial,
                partial.open("w", newline="", encoding="utf-8") as file,
            ):
                table = csv.writer(file)
                table.writerow(COLUMNS)
                table.writerows(_cells(row, p_of.get(id(row)), rate) for row in rows)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    return Written(len(scored), failures, len(set(people)), flagged, sentences)


class _Painters:
    """Threads that write pictures; a bounded number of pictures waits. Errors come up later, at
    the latest at the end."""

    def __enter__(self) -> "_Painters":
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: deque[Future[None]] = deque()
        return self

    def paint(self, path: Path, p: Prediction, vmax: float) -> None:
        assert p.image is not None and p.score is not None
        if len(self._waiting) >= 4 * self._threads:
            self._waiting.popleft().result()
        self._waiting.append(
            self._pool.submit(
                write_triptych, path, p.image, p.twin, p.anomaly_map, score=p.score, vmax=vmax
            )
        )

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._waiting:
                future.result()


def _write_volume_map(path: Path, p: Prediction) -> None:
    from a2bgan.data.volumes import read_grid, write_map  # nibabel takes a while

    assert p.volume_map is not None
    with suppress(ImageError):  # the volume was there a moment ago
        write_map(path, p.volume_map, read_grid(p.input.path))


def _cells(
    row: _Scored | tuple[str, str, str], p_value: float | None, rate: float
) -> tuple[str, ...]:
    if not isinstance(row, _Scored):
        name, patient, error = row
        return (no_formula(name), no_formula(patient), "", "", "", error, "")
    p, flagged = ("", "") if p_value is None else (f"{p_value:.5f}", str(int(p_value <= rate)))
    who = (no_formula(row.name), no_formula(row.patient))
    return (*who, f"{row.score:.6f}", p, flagged, "", row.picture)
