"""The AUROC that is left when abnormal images are compared with normal ones alike in a shortcut."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

NEIGHBOURS = 5
"""Normal images on each side of an abnormal one that it is compared with."""

_REPEATS = 1000
_CELLS = 2_000_000  # replicates x images worked on at a time; bounds memory to tens of MB


@dataclass(frozen=True, slots=True)
class MatchedAuroc:
    """auroc: in [0, 1], with its 95 % interval. matched: share of abnormal images that had a match.

    auroc is NaN and interval None where there is none.
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

    The chance that an abnormal image scores above a normal one with the same covariate. Each
    abnormal image is compared with the normal ones of its own value and with the `neighbours`
    nearest below and as many above, so that a score which follows the covariate alone gets 0.5.
    Fewer are used, equally many on both sides, near the ends; abnormal images beyond all normal
    ones have no match and do not count.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        scores: (N,), higher is more abnormal; ties count half. Or (S, N), of repeated trainings:
            the mean over them.
        covariate: (N,), such as an image's mean brightness.
        patients: (N,), any values that tell patients apart. The interval is a percentile bootstrap
            over them, the matches held fixed.
    """
    abnormal: NDArray[np.bool_] = np.asarray(labels) == 1
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    covariate = np.asarray(covariate, dtype=np.float64)
    matches = _matches(covariate[abnormal], covariate[~abnormal], neighbours)
    matched = matches.max(axis=1, initial=0)
    share = float(matched.mean()) if matched.size else 0.0
    if share == 0:
        return MatchedAuroc(float("nan"), None, share)
    cases, controls = scores[:, abnormal, None], scores[:, None, ~abnormal]
    wins = np.zeros(matches.shape)
    for case, control in zip(cases, controls, strict=True):
        wins += ((case > control) + 0.5 * (case == control)) / len(scores)
    wins *= matches

    def mean_place(weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """AUROC under each set of image weights (R, N); NaN where nobody has a match."""
        of_cases, of_controls = weights[:, abnormal].T, weights[:, ~abnormal].T
        compared = matches @ of_controls
        won = wins @ of_controls
        places = np.divide(won, compared, out=np.zeros_like(won), where=compared > 0)
        counted = (of_cases * (compared > 0)).sum(axis=0)
        total = (of_cases * places).sum(axis=0)
        found: NDArray[np.float64] = np.full(len(weights), np.nan)
        np.divide(total, counted, out=found, where=counted > 0)
        return found

    auroc = float(mean_place(np.ones((1, abnormal.size)))[0])
    names, patient = np.unique(np.asarray(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    aurocs: list[NDArray[np.float64]] = []
    step = max(1, _CELLS // abnormal.size)
    for start in range(0, _REPEATS, step):
        rows = min(step, _REPEATS - start)
        drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=rows)
        aurocs.append(mean_place(drawn[:, patient].astype(np.float64)))
    low, high = np.nanquantile(np.concatenate(aurocs), [0.025, 0.975])
    return MatchedAuroc(auroc, (float(low), float(high)), share)


def _matches(
    cases: NDArray[np.float64], controls: NDArray[np.float64], neighbours: int
) -> NDArray[np.float64]:
    """(cases, controls), 1 where the two are compared."""
    order = np.argsort(controls)
    ordered = controls[order]
    matches = np.zeros((len(cases), len(controls)))
    for row, first, last in zip(
        matches,
        np.searchsorted(ordered, cases, "left"),
        np.searchsorted(ordered, cases, "right"),
        strict=True,
    ):
        beside = min(neighbours, first, len(controls) - last)
        row[order[first - beside : last + beside]] = 1
    return matches
