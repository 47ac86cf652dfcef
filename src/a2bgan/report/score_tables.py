"""Files of `predict`: tables of scores and regions, and a picture of each image."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.detection.decisions.calibration import Calibration, drift, intensities
from a2bgan.detection.predict import Prediction
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file
from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.report.picture_files import PictureFiles
from a2bgan.report.written_names import escaped, free_name, no_formula

COLUMNS = (
    "path", "patient_id", "score", "p_value", "flagged", "n_regions", "area", "unfamiliar", "error",
    "picture",
)  # fmt: skip

REGION_COLUMNS = ("path", "region", "x0", "y0", "x1", "y1", "area_px", "area_mm2", "peak")


@dataclass(frozen=True, slots=True)
class Written:
    """Counts and findings of a call of `predict`.

    scored: images with a score; failures: the others, as (name, reason).
    patients, flagged: of the images with a score.
    drift: sentences on how the images differ from those of calibration.
    outlined: images with a region; None where regions were not looked for.
    unfamiliar: names of images unlike all of training, see `familiarity`.
    p_values: of each image with a score, in their order; empty without a calibration.
    counted_as: "images" where no patient is known, so that each image counts as one.
    """

    scored: int
    failures: list[tuple[str, str]]
    patients: int
    flagged: int
    drift: list[str]
    outlined: int | None
    unfamiliar: Sequence[str] = ()
    counted_as: str = "patients"
    p_values: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class _Scored:
    """A row of the table that has a score.

    patient: "" if unknown; person: tells patients apart all the same.
    images: (3, n) score, mean and standard deviation of the image or of each slice.
    regions, area: number of regions, and the share of the image (or of all slices) that they cover;
        None where they were not looked for.
    unfamiliar: whether it is unlike all of training; None if unknown.
    """

    name: str
    patient: str
    person: str
    score: float
    images: np.ndarray
    picture: str
    regions: int | None
    area: float | None
    unfamiliar: bool | None


def write_predictions(
    predictions: Iterable[Prediction],
    out: Path,
    *,
    calibration: Calibration | None = None,
    rate: float = 0.05,
    pictures: DataConfig | None = None,
    vmax: float = DIFFERENCE_SCALE,
) -> Written:
    """Write ``scores.csv`` (a row per input, failed ones with their error), ``regions.csv`` (a row
    per region) and ``pictures/``; of volumes ``NAME_anomaly.nii.gz`` and ``NAME_regions.nii.gz``
    too, the map and the mask of all regions in the volume's own voxels.

    Each picture shows the input with all pixels of its file and the contours of its regions, the
    healthy twin, and the anomaly map over the input, on the scale 0 to ``vmax``; its heading has
    the file's name, score, p-value, flag and threshold. Boxes in ``regions.csv`` are in pixels of
    the original image, or of the slice that ``path`` names; x1 and y1 are the first outside.
    ``area_mm2`` is empty where the file does not give the size of its pixels. Rows are written as
    they come and, with a calibration, those of ``scores.csv`` once more at the end with ``p_value``
    and ``flagged`` (1 where p <= ``rate``), which depend on all images of a patient; so are the
    headings that this changes.

    pictures: how the images were preprocessed, to place twin and map; None writes no pictures.

    Raises InputError if ``out`` cannot be written.
    """
    rows: list[_Scored | tuple[str, str, str]] = []
    taken = dict[str, int]()
    try:
        out.mkdir(parents=True, exist_ok=True)
        painter = None
        if pictures is not None:
            painter = PictureFiles(out, pictures, vmax, calibration, rate)
        with (
            (out / "scores.csv").open("w", newline="", encoding="utf-8") as file,
            (out / "regions.csv").open("w", newline="", encoding="utf-8") as regions_file,
            nullcontext() if painter is None else painter,
        ):
            table, regions_table = csv.writer(file), csv.writer(regions_file)
            table.writerow(COLUMNS)
            regions_table.writerow(REGION_COLUMNS)
            for p in predictions:
                shown, patient = escaped(p.input.name), escaped(p.input.patient_id)
                if p.score is None or p.image is None:
                    rows.append((shown, patient, escaped(p.error)))
                else:
                    name = picture = ""
                    if painter is not None or p.volume_map is not None:
                        name = free_name(p.input.name, taken)
                    for kind, values in (("anomaly", p.volume_map), ("regions", p.volume_mask)):
                        if values is not None:
                            _write_volume(out / f"{name}_{kind}.nii.gz", p, values)
                    images = p.slices
                    if images is None:
                        images = np.vstack([[p.score], *intensities(p.image[None])])
                    if painter is not None:
                        picture = painter.paint(name, p, images[0])
                    rows.append(
                        _Scored(
                            shown, patient, p.input.person, p.score, images, picture,
                            *_extent(p, images.shape[1]), is_unfamiliar(calibration, p.image),
                        )
                    )  # fmt: skip
                    regions_table.writerows(_region_rows(p))
                table.writerow(_cells(rows[-1], None, rate))
        scored = [row for row in rows if isinstance(row, _Scored)]
        failures = [(row[0], row[2]) for row in rows if not isinstance(row, _Scored)]
        people = [row.person for row in scored]
        flagged = 0
        sentences: list[str] = []
        p_of: dict[int, float] = {}
        if calibration is not None and scored:
            scores, means, deviations = np.concatenate([row.images for row in scored], axis=1)
            counts = [row.images.shape[1] for row in scored]
            behind = [who for who, n in zip(people, counts, strict=True) for _ in range(n)]
            p_values = calibration.case_p_values(people, [row.images[0] for row in scored])
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
            if painter is not None:
                painter.correct({row.picture: p_of[id(row)] for row in scored})
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    looked_for = [row.regions for row in scored if row.regions is not None]
    outlined = sum(map(bool, looked_for)) if looked_for else None
    strange = [row.name for row in scored if row.unfamiliar]
    counted_as = "patients" if any(row.patient for row in scored) else "images"
    return Written(
        len(scored), failures, len(set(people)), flagged, sentences, outlined, strange, counted_as,
        tuple(p_of.values()),
    )  # fmt: skip


def is_unfamiliar(calibration: Calibration | None, image: np.ndarray) -> bool | None:
    """True for an image (C, H, W) in [0, 1] unlike all of training; None if unknown."""
    found = None if calibration is None else calibration.unfamiliar(image[None])
    return None if found is None else bool(found[0])


def _write_volume(path: Path, p: Prediction, values: np.ndarray) -> None:
    from a2bgan.data.formats.nifti import write_map  # nibabel takes a while
    from a2bgan.data.formats.volumes import read_grid

    with suppress(ImageError):  # the volume was there a moment ago
        write_map(path, values, read_grid(p.input.path))


def _extent(p: Prediction, images: int) -> tuple[int | None, float | None]:
    """Number of regions in an image, or in so many slices, and the share that they cover."""
    if p.regions is None:
        return None, None
    found = [region for regions in p.regions.values() for region in regions]
    return len(found), sum(region.share for region in found) / images


def _region_rows(p: Prediction) -> Iterator[tuple[str | int, ...]]:
    for name, regions in (p.regions or {}).items():
        for number, region in enumerate(regions, start=1):
            mm2 = "" if p.pixel_area is None else f"{region.area * p.pixel_area:.2f}"
            shown = no_formula(escaped(name))
            yield shown, number, *region.box, region.area, mm2, f"{region.peak:.6f}"


def _cells(
    row: _Scored | tuple[str, str, str], p_value: float | None, rate: float
) -> tuple[str, ...]:
    if not isinstance(row, _Scored):
        name, patient, error = row
        return (no_formula(name), no_formula(patient), "", "", "", "", "", "", error, "")
    p, flagged = ("", "") if p_value is None else (f"{p_value:.5f}", str(int(p_value <= rate)))
    regions = "" if row.regions is None else str(row.regions)
    area = "" if row.area is None else f"{100 * row.area:.3f}"
    strange = "" if row.unfamiliar is None else str(int(row.unfamiliar))
    who = (no_formula(row.name), no_formula(row.patient))
    return (*who, f"{row.score:.6f}", p, flagged, regions, area, strange, "", row.picture)
