"""Estimate the share of diseased in the mixed set from scores alone."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from a2bgan.detection.measures.bootstrap import PatientBootstrap

_CELLS = 20  # of the histogram of places among the healthy; few enough to be filled
_SHARES = np.linspace(0.0005, 0.9995, 201)
# Where diseased images lie, in units of the healthy: separation of the means and ratio of spreads,
# with the middle and width of what is expected of them. Without that, a large share that is hardly
# separated explains any scores as well as a small one that is.
_SEPARATIONS = np.arange(0.5, 6.01, 0.25)
_SPREADS = (0.6, 0.8, 1.0, 1.25, 1.6)
_EXPECTED_SEPARATION = (3.0, 1.0)
_EXPECTED_LOG_SPREAD = (0.0, 0.3)


@dataclass(frozen=True, slots=True)
class DiseasedShare:
    """Estimated share of diseased images in a set, in [0, 1], and its 95 % interval."""

    share: float
    interval: tuple[float, float]


def estimate_diseased_share(
    healthy: ArrayLike,
    mixed: ArrayLike,
    healthy_patients: ArrayLike | None = None,
    mixed_patients: ArrayLike | None = None,
    *,
    repeats: int = 200,
    seed: int = 0,
) -> DiseasedShare:
    """Split the scores of a mixed set into healthy ones and others.

    A mixed image's place is the share of healthy images that score higher. Places of healthy
    images are uniform; those of diseased ones follow a binormal ROC curve,
    ``TPR = Phi((separation + Phi^-1(FPR)) / spread)``, the usual one in radiology (Dorfman and Alf
    1969). The estimate is the posterior mean of the share given the histogram of places, with a
    uniform prior. The interval is the percentile bootstrap over patients of both sets. Places are
    open where scores tie or healthy images are fewer than the cells of the histogram; then, or
    where resamples are all alike, the interval is no narrower than the posterior's.

    Disease that scores like health is not seen: with an AUROC below 0.85 the share is too small.
    Without any disease it is a few per cent.

    Args:
        healthy: (N,) scores of healthy images that training never saw.
        mixed: (M,) scores of mixed images that training never saw.
        healthy_patients, mixed_patients: values that tell patients apart; None: each image its own.
        repeats, seed: of the bootstrap.

    Raises:
        ValueError: a set is empty.
    """
    healthy, mixed = np.asarray(healthy, np.float64), np.asarray(mixed, np.float64)
    if not len(healthy) or not len(mixed):
        raise ValueError("both sets need images")
    posterior, tied = _posterior(healthy, mixed)
    rng = np.random.default_rng(seed)
    sets = [
        (scores, PatientBootstrap(np.arange(len(scores)) if patients is None else patients, rng))
        for scores, patients in ((healthy, healthy_patients), (mixed, mixed_patients))
    ]
    shares = []
    for _ in range(repeats):
        h, m = (np.repeat(scores, bootstrap.draw(1)[0]) for scores, bootstrap in sets)
        shares.append(float(_posterior(h, m)[0] @ _SHARES))
    low, high = np.quantile(shares, [0.025, 0.975])
    if tied or low == high:
        ends = np.searchsorted(np.cumsum(posterior), [0.025, 0.975])
        low, high = min(low, _SHARES[ends[0]]), max(high, _SHARES[ends[1]])
    return DiseasedShare(float(posterior @ _SHARES), (float(low), float(high)))


def _posterior(healthy: NDArray[Any], mixed: NDArray[Any]) -> tuple[NDArray[Any], bool]:
    """Probability of each of _SHARES, and whether it is open in which cell any image is."""
    ordered, n = np.sort(healthy), len(healthy)
    edges = np.linspace(0, 1, _CELLS + 1)
    above, not_below = (n - np.searchsorted(ordered, mixed, side) for side in ("right", "left"))
    # A tied image's place is anywhere from above those that score the same to below them.
    start, end = above / (n + 1), (not_below + 1) / (n + 1)
    cell = np.searchsorted(edges, (above + 0.5) / (n + 1), "right") - 1
    spread = ((above < not_below) | (n + 1 < _CELLS)) & (
        np.searchsorted(edges, start, "right") < np.searchsorted(edges, end, "left")
    )
    log_cells, prior = _grid()
    log_posterior = log_cells @ np.bincount(cell[~spread], minlength=_CELLS) + prior
    if spread.any():
        ranges, counts = np.unique(np.stack([start, end])[:, spread], axis=1, return_counts=True)
        low, high = ranges
        covered = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
        part = np.clip(covered, 0, None) / (high - low)
        log_posterior = log_posterior + np.log(np.exp(log_cells) @ part) @ counts
    weights = np.exp(log_posterior - log_posterior.max()).sum(axis=1)
    return weights / weights.sum(), bool(spread.any())


@cache
def _grid() -> tuple[NDArray[Any], NDArray[Any]]:
    """Log probabilities of the cells, (shares, shapes, cells), and log prior of the shapes."""
    from scipy.stats import norm  # takes a while

    grid = np.meshgrid(_SEPARATIONS, np.log(_SPREADS))
    separation, log_spread = (values.ravel() for values in grid)
    points = norm.ppf(np.linspace(0, 1, _CELLS + 1))
    curves = norm.cdf((separation[:, None] + points) / np.exp(log_spread)[:, None])
    diseased = np.diff(curves)
    share = _SHARES[:, None, None]
    cells = (1 - share) / _CELLS + share * diseased
    prior = norm.logpdf(separation, *_EXPECTED_SEPARATION) + norm.logpdf(
        log_spread, *_EXPECTED_LOG_SPREAD
    )
    return np.log(cells), prior
