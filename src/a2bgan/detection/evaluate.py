"""Measure detection and localisation on a labelled split."""

import csv
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from a2bgan.data.cache.images import Failure, StoredForm, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_mask
from a2bgan.data.formats.slice_names import parse_slice
from a2bgan.data.manifest import Manifest, Row, counted_as
from a2bgan.data.preprocessing import preprocess_mask
from a2bgan.data.unit_range import to_intensities
from a2bgan.detection import RATE
from a2bgan.detection.audit.subgroups import subgroups
from a2bgan.detection.audit.trivial_statistics import best_statistic
from a2bgan.detection.data_frame import data_frame
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.lesion_measures import LesionMeasures
from a2bgan.detection.measures import conformal
from a2bgan.detection.measures.bootstrap import bootstrap_auroc_interval
from a2bgan.detection.measures.metrics import auprc, auroc, sensitivity_at_specificity
from a2bgan.detection.measures.stored_mask import StoredMask
from a2bgan.detection.patient_scores import by_patient
from a2bgan.detection.pick import Pick
from a2bgan.detection.scores import SCORES, map_scores
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file

if TYPE_CHECKING:
    import pandas as pd

SCORE_COLUMNS = ("path", "patient_id", "label", "score")

OF_ONE_RUN = ("confusion", "subgroups")
"""Tables among the metrics, which cannot be averaged."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The measures of a run on labelled images.

    metrics: the content of ``metrics.json``. rows, scores: (N,), of the images behind it.
    failures: images left out. mask_failures: images whose mask cannot be read, which count in all
    but the measures of localisation.
    """

    metrics: dict[str, Any]
    rows: list[Row]
    scores: np.ndarray
    failures: list[Failure]
    mask_failures: list[Failure]

    @property
    def labels(self) -> np.ndarray:
        """(N,) 1 abnormal, 0 normal."""
        return np.array([row.label for row in self.rows], dtype=np.int64)

    @property
    def patients(self) -> np.ndarray:
        """(N,) identifiers."""
        return np.array([row.patient_id for row in self.rows], dtype=np.str_)

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table with a row for each image: path, patient_id, label, score."""
        names = [row.name for row in self.rows]
        columns = dict(
            zip(SCORE_COLUMNS, (names, self.patients, self.labels, self.scores), strict=True)
        )
        return data_frame(columns)

    def write_scores(self, path: Path) -> None:
        """Write a CSV file with path, patient_id, label and score of every image, whole or not."""
        with atomic_file(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(SCORE_COLUMNS)
            for row, score in zip(self.rows, self.scores, strict=True):
                table.writerow((row.name, row.patient_id, row.label, repr(float(score))))


def evaluate(
    trained: Trained,
    manifest: Manifest,
    *,
    split: str = "test",
    calibration: Calibration | None = None,
) -> Evaluation:
    """Score a split and compare with its labels, and with its masks and twins where it has them.

    docs/reading.md lists the measures; those that the split does not allow (one class only, no
    masks) are None or missing. A slice is abnormal where its mask has lesion or, without masks,
    where its volume is.

    calibration: one that holds for the pick; without it thresholds are not measured.

    Raises InputError if the split has no labelled images that can be read, or one's score is not
    finite.
    """
    found = load_labelled_split(manifest, split, trained.config.data)
    source: dict[str, Any] = {"split": split, "manifest_sha256": manifest.sha256}
    if manifest.where:
        source["where"] = manifest.where
    return evaluate_images(trained, found, calibration, source)


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Preprocessed images (N, C, S, S), uint8 or uint16, with what is known of them.

    rows: N, with labels; masks: N, None where not known.
    patient_labels: 1 where a patient has an abnormal image or volume, by patient.
    failures, mask_failures: what could not be read.
    """

    images: np.ndarray
    rows: list[Row]
    masks: list[StoredMask | None]
    patient_labels: Mapping[str, float]
    failures: Sequence[Failure] = ()
    mask_failures: Sequence[Failure] = ()


def load_labelled_split(manifest: Manifest, split: str, config: DataConfig) -> LabelledImages:
    """Load the labelled images of a split, and their masks. Raises InputError if there are none."""
    labelled = [row for row in manifest.split(split) if row.label is not None]
    if not labelled:
        raise InputError(f"split {split}: no labelled images; `predict` needs no labels")
    loaded, rows = load_rows(labelled, config)
    if not len(loaded.images):
        raise InputError(f"split {split}: none of its {len(labelled)} images can be read")
    patient_labels = by_patient([r.patient_id for r in rows], np.array([r.label for r in rows]))
    rows, masks, mask_failures = with_evaluated_labels(rows, loaded.originals, config)
    return LabelledImages(
        loaded.images, rows, masks, patient_labels, loaded.failures, mask_failures
    )


def evaluate_images(
    trained: Trained,
    found: LabelledImages,
    calibration: Calibration | None,
    source: Mapping[str, Any],
) -> Evaluation:
    """`evaluate` of images that are loaded; source: what the metrics say of where they are from."""
    config, rows, masks = trained.config.data, found.rows, found.masks
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    # Maps and twins are looked at only where there is a mask to compare them with.
    facts = trained.method.facts
    compared = np.array([mask is not None for mask in masks])
    localising: LesionMeasures | None = None
    if facts.makes_map and any(mask.has_lesion for mask in masks if mask is not None):
        of_rows = [row for row, known in zip(rows, compared, strict=True) if known]
        localising = LesionMeasures(
            [mask for mask in masks if mask is not None],
            [row.patient_id for row in of_rows],
            pixel_threshold,
            _true_twins(of_rows, config) if facts.makes_twin else None,
        )
    outputs = _outputs(trained, found.images, compared, localising)

    scores = outputs.scores
    if len(bad := np.flatnonzero(~np.isfinite(scores))):
        raise InputError(f"{rows[bad[0]].name}: no finite score ({len(bad)} of {len(rows)} images)")
    labels = np.array([row.label for row in rows])
    interval = bootstrap_auroc_interval(labels, scores, np.array([r.patient_id for r in rows]))
    metrics: dict[str, Any] = {
        "auroc": auroc(labels, scores),
        "auroc_ci": None if interval is None else list(interval),
    }
    if outputs.of_map is not None:
        metrics["map_auroc"] = auroc(labels, outputs.of_map)
        metrics["map_score"] = _map_score(trained.pick)
    if outputs.peaks is not None and pixel_threshold is not None and (labels == 0).any():
        outlined = outputs.peaks[labels == 0] > pixel_threshold
        metrics["healthy_with_contour"] = float(outlined.mean())
    if calibration is not None:
        metrics |= at_threshold(calibration, [r.patient_id for r in rows], labels, scores)
    if len(set(labels.tolist())) == 2:
        statistic, trivial = best_statistic(found.images, labels)
        metrics |= {"trivial_auroc": trivial, "trivial_statistic": statistic}
        found_groups = subgroups(rows, labels, scores)
        metrics["subgroups"] = [asdict(group) for group in found_groups]
    metrics |= {
        **_of_patients(rows, scores, found.patient_labels, trained.pick.patients),
        "auprc": auprc(labels, scores),
        "sensitivity_at_95_specificity": sensitivity_at_specificity(labels, scores, 0.95),
        "n_normal": int((labels == 0).sum()),
        "n_abnormal": int((labels == 1).sum()),
        "counted_as": counted_as(rows),
        "n_patients": len({row.patient_id for row in rows}),
        "n_failed": len(found.failures),
        "n_masks_failed": len(found.mask_failures),
        "images_per_second": len(rows) / max(outputs.seconds, 1e-9),
        "score": trained.pick.score,
        "checkpoint": trained.pick.checkpoint,
        "weights": trained.pick.version,
        "selected_by": trained.pick.rule,
        **source,
    }
    if trained.method.note is not None:
        metrics["note"] = trained.method.note
    if localising is not None:
        metrics |= localising.by_name()
    return Evaluation(metrics, rows, scores, list(found.failures), list(found.mask_failures))


@dataclass(frozen=True, slots=True)
class _Outputs:
    """Scores of N images.

    scores: (N,) by the picked score; of_map: (N,) by the best score of the map, and peaks: (N,) its
        highest values, None without one. seconds: that judging took, without measuring.
    """

    scores: np.ndarray
    of_map: np.ndarray | None
    peaks: np.ndarray | None
    seconds: float


def _outputs(
    trained: Trained, images: np.ndarray, compared: np.ndarray, localising: LesionMeasures | None
) -> _Outputs:
    """Judge images (N, C, S, S), and measure the maps of those that are compared, (N,)."""
    map_score = _map_score(trained.pick)
    scores: list[np.ndarray] = []
    of_map: list[np.ndarray] = []
    peaks: list[np.ndarray] = []
    first = 0
    began, measuring = time.monotonic(), 0.0
    for batch in trained.detect_images(images):
        scores.append(batch.scores)
        if map_score == trained.pick.score:
            of_map.append(scores[-1])
        elif map_score is not None and batch.anomaly_map is not None:
            mask = None if batch.mask is None else torch.from_numpy(batch.mask)
            found = map_scores(torch.from_numpy(batch.anomaly_map), mask, (map_score,))
            of_map.append(found[map_score].numpy())
        if batch.anomaly_map is not None:
            peaks.append(batch.anomaly_map.max(axis=(1, 2)))
            judged = time.monotonic()
            for k in np.flatnonzero(compared[first : first + len(batch.scores)]).tolist():
                if localising is not None:
                    twin = None if batch.twin is None else to_intensities(batch.twin[k])
                    localising.add(batch.anomaly_map[k], images[first + k], twin)
            measuring += time.monotonic() - judged
        first += len(batch.scores)
    return _Outputs(
        np.concatenate(scores).astype(np.float64),
        np.concatenate(of_map) if of_map else None,
        np.concatenate(peaks) if peaks else None,
        time.monotonic() - began - measuring,
    )


def read_scores(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Read the paths, labels, scores and patients, (N,) each, of `Evaluation.write_scores`.

    Raises InputError if the file cannot be used.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        labels = np.array([int(row["label"]) for row in rows], dtype=np.int64)
        scores = np.array([float(row["score"]) for row in rows], dtype=np.float64)
        patients = np.array([row["patient_id"] for row in rows], dtype=np.str_)
        return [row["path"] for row in rows], labels, scores, patients
    except (OSError, ValueError, KeyError, TypeError):
        raise InputError(f"{path}: not readable; `a2bgan evaluate` makes it anew") from None


def summarise(evaluations: Sequence[Evaluation]) -> dict[str, Any]:
    """Average the metrics of repeated trainings on the same images.

    ``auroc_ci`` is the interval of the mean AUROC, over patients; ``NAME_sd`` is the standard
    deviation over the runs. A metric that some runs lack, such as the AUROC of a map, is averaged
    over the ``NAME_runs`` others. `OF_ONE_RUN` is left out.

    Raises InputError if the runs were not evaluated on the same images.
    """
    first = evaluations[0]
    if any([r.name for r in e.rows] != [r.name for r in first.rows] for e in evaluations):
        raise InputError("repeated runs must be evaluated on the same images")
    scores = np.stack([e.scores for e in evaluations])
    interval = bootstrap_auroc_interval(first.labels, scores, first.patients)
    summary: dict[str, Any] = {"n_runs": len(evaluations)}
    for name in dict.fromkeys(name for e in evaluations for name in e.metrics):
        values = [e.metrics[name] for e in evaluations if name in e.metrics]
        if name == "auroc_ci":
            summary[name] = None if interval is None else list(interval)
        elif name.endswith("_ci") or name in OF_ONE_RUN:
            continue
        elif all(isinstance(v, float) for v in values):
            summary[name] = float(np.mean(values))
            if len(values) > 1:
                summary[f"{name}_sd"] = float(np.std(values, ddof=1))
            if len(values) < len(evaluations):
                summary[f"{name}_runs"] = len(values)
        else:
            summary[name] = values[0] if all(v == values[0] for v in values) else values
    return summary


def _map_score(pick: Pick) -> str | None:
    """The score of the map itself, where the picked one may be another."""
    return pick.map_score or (pick.score if pick.score in SCORES else None)


def _of_patients(
    rows: Sequence[Row], scores: np.ndarray, label_of: Mapping[str, float], rule: str
) -> dict[str, Any]:
    """AUROC of patients by their patient score; empty where each has one image."""
    found = by_patient([row.patient_id for row in rows], scores, rule)
    if len(found) == len(rows):
        return {}
    labels = np.array([label_of[who] for who in found], dtype=np.int64)
    values = np.array(list(found.values()))
    interval = bootstrap_auroc_interval(labels, values, np.array(list(found)))
    return {
        "patient_auroc": auroc(labels, values),
        "patient_auroc_ci": None if interval is None else list(interval),
        "patient_score": rule,
        "n_patients_normal": int((labels == 0).sum()),
        "n_patients_abnormal": int((labels == 1).sum()),
    }


def with_evaluated_labels(
    rows: Sequence[Row], originals: Sequence[StoredForm], config: DataConfig
) -> tuple[list[Row], list[StoredMask | None], list[Failure]]:
    """Labelled rows with the labels that detection is measured by, their masks (size, size) or None
    if unknown, and the masks that cannot be used.

    A slice without lesion in its mask is normal, though its volume is not; this is decided before
    the mask shrinks to the size of training, at which small lesions vanish. Normal images without a
    mask file share one of zeros.

    originals: how the rows' images were stored; a mask has the size of its image.
    """
    empty = StoredMask.of(np.zeros((config.size, config.size), dtype=bool))
    labelled: list[Row] = []
    masks: list[StoredMask | None] = []
    failures: list[Failure] = []
    for row, original in zip(rows, originals, strict=True):
        mask = None
        if row.mask is not None:
            try:
                like = (original.height, original.width)
                whole = read_mask(row.mask, config.max_pixels, like)
                mask = StoredMask.of(preprocess_mask(whole, config))
                if parse_slice(row.name) is not None:
                    row = replace(row, label=int(whole.any()))
            except ImageError as error:
                failures.append(Failure(row.name, f"mask: {error}"))
        elif row.label == 0:
            mask = empty
        labelled.append(row)
        masks.append(mask)
    return labelled, masks, failures


def at_threshold(
    calibration: Calibration,
    patients: Sequence[str],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> dict[str, Any]:
    """Sensitivity and specificity over patients where those with p <= `RATE` are flagged, and
    ``confusion``, the counts of patients behind them.

    A patient with an abnormal image is abnormal. Intervals are 95 %, exact (Clopper-Pearson). Empty
    where too few healthy patients were held out to flag anybody.

    Args:
        patients, labels, scores: (N,) of images.
    """
    if len(calibration.patient_scores) < conformal.fewest_patients(RATE):
        return {}
    over = calibration.p_values(patients, scores) <= RATE
    flagged, sick = (
        np.array(list(by_patient(patients, each.astype(np.float64), "max").values())) > 0
        for each in (over, labels)
    )
    found: dict[str, Any] = {
        "confusion": {
            "abnormal_flagged": int(flagged[sick].sum()),
            "abnormal_missed": int((~flagged[sick]).sum()),
            "normal_flagged": int(flagged[~sick].sum()),
            "normal_left_alone": int((~flagged[~sick]).sum()),
        }
    }
    for name, right in (("sensitivity", flagged[sick]), ("specificity", ~flagged[~sick])):
        if len(right):
            interval = binomtest(int(right.sum()), len(right)).proportion_ci()
            found[name] = float(right.mean())
            found[f"{name}_ci"] = [float(interval.low), float(interval.high)]
    return found


def _true_twins(rows: Sequence[Row], config: DataConfig) -> np.ndarray | None:
    """The exact healthy twins of all these images, which only phantoms have."""
    paths = [row.twin for row in rows if row.twin is not None]
    if len(paths) < len(rows):
        return None
    loaded = load_images(paths, [row.name for row in rows], config)
    return None if loaded.failures else loaded.images
