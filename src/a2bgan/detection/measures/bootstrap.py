"""Bootstrap over patients, who may have several images, and the interval of an AUROC from it."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 2_000_000  # replicates x images worked on at a time; bounds memory to tens of MB


class PatientBootstrap:
    """Draws as many patients as there are, with replacement, together with all their images.

    Images of one patient resemble each other, so resampling images would make intervals too narrow.

    Args:
        patients: (N,) of images, any values that tell patients apart. Draws depend on the order in
            which patients come, not on their names.
        seed: or a generator that several bootstraps share.
    """

    def __init__(self, patients: ArrayLike, seed: int | np.random.Generator = 0) -> None:
        _, first, patient = np.unique(np.asarray(patients), return_index=True, return_inverse=True)
        self.count = len(first)
        self._patient = np.argsort(np.argsort(first))[patient]
        self._rng = np.random.default_rng(seed)

    def draw(self, rows: int) -> NDArray[np.int64]:
        """Number of times each image counts in each of so many replicates, (rows, N)."""
        draws = self._rng.integers(self.count, size=(rows, self.count))
        cells = draws + np.arange(rows)[:, None] * self.count
        times = np.bincount(cells.ravel(), minlength=rows * self.count).reshape(rows, -1)
        drawn: NDArray[np.int64] = times[:, self._patient]
        return drawn


def bootstrap_auroc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    patients: ArrayLike,
    *,
    level: float = 0.95,
    repeats: int = 2000,
    seed: int = 0,
) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the AUROC, resampling patients.

    A replicate with one class only has no AUROC and is drawn again.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        scores: (N,), higher is more abnormal; ties count half. Or (S, N), of repeated trainings:
            the interval is then that of their mean AUROC.
        patients: (N,), any values that tell patients apart.
        level: coverage aimed at, in (0, 1).
        repeats: number of replicates.
        seed: of the draws; the same seed gives the same interval.

    Returns:
        (low, high), both in [0, 1], or None where there is one class or one patient only. Scores
        that separate the classes perfectly give (1, 1) whatever their number.
    """
    labels = np.asarray(labels)
    is_abnormal = labels == 1
    bootstrap = PatientBootstrap(patients, seed)
    if is_abnormal.all() or not is_abnormal.any() or bootstrap.count < 2:
        return None
    aurocs = np.empty(0)
    while len(aurocs) < repeats:
        rows = min(repeats - len(aurocs), max(1, _CELLS // len(labels)))
        times = bootstrap.draw(rows)
        drawn = np.mean(
            [weighted_auroc(labels, run, times) for run in np.atleast_2d(scores)], axis=0
        )
        aurocs = np.concatenate([aurocs, drawn[~np.isnan(drawn)]])
    low, high = np.quantile(aurocs, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def weighted_auroc(
    labels: ArrayLike, scores: ArrayLike, weights: NDArray[Any]
) -> NDArray[np.float64]:
    """AUROC of the same images under many sets of integer weights.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        scores: (N,), higher is more abnormal; ties count half.
        weights: (R, N) non-negative integers, how often each image counts in each replicate.

    Returns:
        (R,) in [0, 1]; NaN where a replicate's weight lies in one class only.
    """
    scores = np.asarray(scores)
    order = np.argsort(scores)
    ordered = scores[order]
    tie_starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    weights = weights[:, order]
    is_abnormal = np.asarray(labels)[order] == 1
    abnormal = np.add.reduceat(np.where(is_abnormal, weights, 0), tie_starts, axis=1)
    normal = np.add.reduceat(np.where(is_abnormal, 0, weights), tie_starts, axis=1)
    # Twice the pairs won, so that half a pair for a tie stays an integer.
    normal_below = np.cumsum(normal, axis=1) - normal
    won = np.sum(abnormal * (2 * normal_below + normal), axis=1)
    pairs = 2 * abnormal.sum(axis=1) * normal.sum(axis=1)
    aurocs: NDArray[np.float64] = np.full(len(weights), np.nan)
    np.divide(won, pairs, out=aurocs, where=pairs > 0)
    return aurocs
