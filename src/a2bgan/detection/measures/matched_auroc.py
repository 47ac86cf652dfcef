"""AUROC of abnormal images against normal ones that are alike in a shortcut."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from a2bgan.detection.measures.bootstrap import PatientBootstrap

NEIGHBOURS = 5
"""Normal images on each side of an abnormal one that it is compared with."""

_REPEATS = 500


@dataclass(frozen=True, slots=True)
class MatchedAuroc:
    """An AUROC in [0, 1] with its 95 % interval, and the share of abnormal images with a match.

    Without any match, auroc is NaN and interval None.
    """

    auroc: float
    interval: tuple[float, float] | None
    matched: float


def matched_auroc(
    labels: ArrayLike,
    scores: ArrayLike,
    covariate: ArrayLike,
    patients: ArrayLike,
    *,
    neighbours: int = NEIGHBOURS,
    seed: int = 0,
) -> MatchedAuroc:
    """Covariate-adjusted AUROC (Janes and Pepe, Biometrika 2009), by nearest neighbours.

    It is the chance that an abnormal image scores above a normal one with the same covariate. Each
    abnormal image is compared with normal ones of its own value, the `neighbours` nearest below
    and as many above (fewer, but as many on both sides, near the ends), so that a score which
    follows the covariate alone gets 0.5. Abnormal images beyond all normal ones do not count.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        scores: (N,), higher is more abnormal; ties count half. Or (S, N), of repeated trainings:
            the mean over them.
        covariate: (N,), such as an image's mean brightness.
        patients: (N,), any values that tell patients apart. The interval is a percentile bootstrap
            over them, matched anew each time.
    """
    abnormal: NDArray[np.bool_] = np.asarray(labels) == 1
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    covariate = np.asarray(covariate, dtype=np.float64)
    order = np.argsort(covariate[~abnormal])
    cases, controls = covariate[abnormal], covariate[~abnormal][order]
    of_case, of_control = scores[:, abnormal], scores[:, ~abnormal][:, order]

    def adjusted(times: NDArray[np.int64]) -> tuple[float, float]:
        """AUROC with images (N,) counted so many times, and the share of cases with a match."""
        of_cases = times[abnormal]
        drawn = np.repeat(np.arange(len(controls)), times[~abnormal][order])
        first = np.searchsorted(controls[drawn], cases, "left")
        last = np.searchsorted(controls[drawn], cases, "right")
        beside = np.minimum(neighbours, np.minimum(first, len(drawn) - last))
        start, end = first - beside, last + beside
        matched = (end > start) & (of_cases > 0)
        if not matched.any():
            return float("nan"), 0.0
        row = np.flatnonzero(matched)
        start, end = start[row, np.newaxis], end[row, np.newaxis]
        place = start + np.arange((end - start).max())
        beside = drawn[np.minimum(place, len(drawn) - 1)]
        won = np.zeros(beside.shape)
        for case, control in zip(of_case[:, row, np.newaxis], of_control, strict=True):
            against = control[beside]
            won += ((case > against) + 0.5 * (case == against)) / len(scores)
        places = (won * (place < end)).sum(axis=1) / (end - start)[:, 0]
        weights = of_cases[row]
        return float(np.average(places, weights=weights)), float(weights.sum() / of_cases.sum())

    auroc, share = adjusted(np.ones(abnormal.size, dtype=np.int64))
    if np.isnan(auroc):
        return MatchedAuroc(auroc, None, share)
    drawn = [adjusted(times)[0] for times in PatientBootstrap(patients, seed).draw(_REPEATS)]
    low, high = np.nanquantile(drawn, [0.025, 0.975])
    return MatchedAuroc(auroc, (float(low), float(high)), share)
