"""The ROC curve with a bootstrap band."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from a2bgan.detection.measures.bootstrap import PatientBootstrap

_REPEATS = 500


@dataclass(frozen=True, slots=True)
class RocBand:
    """A ROC curve at (101,) false-positive rates, all values in [0, 1].

    low, high: 95 % of the curves of resampled patients lie between them, at each rate.
    """

    false_positive_rate: NDArray[np.float64]
    sensitivity: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


def roc_band(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike, *, seed: int = 0
) -> RocBand | None:
    """ROC curve of scores (N,) for labels (N,), 1 abnormal, and its pointwise bootstrap band.

    Patients (N,) are resampled with all their images. None where there is one class only.
    """
    labels, scores = np.asarray(labels), np.asarray(scores)
    if len(np.unique(labels)) < 2:
        return None
    grid = np.linspace(0, 1, 101)
    weights = PatientBootstrap(patients, seed).draw(_REPEATS)
    drawn = [_curve(labels, scores, each, grid) for each in weights]
    curves = [curve for curve in drawn if curve is not None]
    low, high = np.quantile(curves, [0.025, 0.975], axis=0)
    whole = _curve(labels, scores, np.ones(len(labels)), grid)
    assert whole is not None  # both classes are there
    return RocBand(grid, whole, low, high)


def _curve(
    labels: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any], grid: NDArray[Any]
) -> NDArray[np.float64] | None:
    kept = weights > 0
    if len(np.unique(labels[kept])) < 2:
        return None
    from sklearn.metrics import roc_curve  # takes a while

    rates, sensitivity, _ = roc_curve(labels[kept], scores[kept], sample_weight=weights[kept])
    # A step is reached at its end: the highest sensitivity that a rate allows.
    position = np.searchsorted(rates, grid, "right") - 1
    return np.asarray(sensitivity[position], dtype=np.float64)
