"""Estimate the share of diseased in the mixed set from scores alone."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

_CELLS = 20  # of the histogram of places among the healthy; few enough to be filled
_SHARES = np.append(np.linspace(0, 0.999, 334), 1)
# Where diseased images lie, in units of the healthy: separation of the means and ratio of spreads,
# with the middle and width of what is expected of them. Without that, a large share that is hardly
# separated explains any scores as well as a small one that is.
_SEPARATIONS = np.arange(0.5, 6.01, 0.25)
_SPREADS = (0.6, 0.8, 1.0, 1.25, 1.6)
_EXPECTED_SEPARATION = (3.0, 1.0)
_EXPECTED_LOG_SPREAD = (0.0, 0.3)
_LIKELIHOOD_RATIO = 3.841  # 95 % of a chi-square distribution of one degree of freedom


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
) -> DiseasedShare:
    """Split the scores of a mixed set into healthy ones and others.

    A mixed image's place is the share of healthy images that score higher. Places of healthy
    images are uniform; those of diseased ones follow a binormal ROC curve,
    ``TPR = Phi((separation + Phi^-1(FPR)) / spread)``, the usual one in radiology (Dorfman and Alf
    1969). The estimate is the share that explains the histogram of places best, at its best curve;
    curves count less where one would not expect them (a penalised profile likelihood). The interval
    holds every share that the likelihood ratio test does not refuse at 5 %, 0 among them where no
    disease would explain the scores about as well. Before that the likelihood is flattened: places
    vary with the healthy images, too, and the images of a patient tell less than those of several.

    Disease that scores like health is not seen: with an AUROC below 0.85 the share is too small.

    Args:
        healthy: (N,) scores of healthy images that training never saw.
        mixed: (M,) scores of mixed images that training never saw.
        healthy_patients, mixed_patients: values that tell patients apart; None: each image its own.

    Raises:
        ValueError: a set is empty.
    """
    healthy, mixed = np.asarray(healthy, np.float64), np.asarray(mixed, np.float64)
    if not len(healthy) or not len(mixed):
        raise ValueError("both sets need images")
    n = _effective_patients(healthy, healthy_patients)
    m = _effective_patients(mixed, mixed_patients)
    flattened = m / len(mixed) * n / (n + m)
    log_likelihood, expected = _log_likelihood(healthy, mixed), _grid()[1]
    best = (flattened * log_likelihood + expected).max(axis=1)
    behind = best.max() - best
    inside = _SHARES[2 * behind <= _LIKELIHOOD_RATIO]
    share = _SHARES[behind < 1e-9].mean()  # scores that say nothing suit all shares
    return DiseasedShare(float(share), (float(inside.min()), float(inside.max())))


def _effective_patients(scores: NDArray[Any], patients: ArrayLike | None) -> float:
    """Number of patients; less where some have many more images than others (Kish 1965)."""
    if patients is None:
        return len(scores)
    images = np.unique(np.asarray(patients), return_counts=True)[1]
    return float(images.sum() ** 2 / (images**2).sum())


def _log_likelihood(healthy: NDArray[Any], mixed: NDArray[Any]) -> NDArray[Any]:
    """Log likelihood of each share and shape of the grid, (shares, shapes).

    Places are open where scores tie or healthy images are fewer than the cells of the histogram.
    """
    ordered, n = np.sort(healthy), len(healthy)
    edges = np.linspace(0, 1, _CELLS + 1)
    above, not_below = (n - np.searchsorted(ordered, mixed, side) for side in ("right", "left"))
    # A tied image's place is anywhere from above those that score the same to below them.
    start, end = above / (n + 1), (not_below + 1) / (n + 1)
    cell = np.searchsorted(edges, (above + 0.5) / (n + 1), "right") - 1
    spread = ((above < not_below) | (n + 1 < _CELLS)) & (
        np.searchsorted(edges, start, "right") < np.searchsorted(edges, end, "left")
    )
    log_cells = _grid()[0]
    found: NDArray[Any] = log_cells @ np.bincount(cell[~spread], minlength=_CELLS)
    if spread.any():
        ranges, counts = np.unique(np.stack([start, end])[:, spread], axis=1, return_counts=True)
        low, high = ranges
        covered = np.minimum(high, edges[1:, None]) - np.maximum(low, edges[:-1, None])
        part = np.clip(covered, 0, None) / (high - low)
        found = found + np.log(np.exp(log_cells) @ part) @ counts
    return found


@cache
def _grid() -> tuple[NDArray[Any], NDArray[Any]]:
    """Log probabilities of the cells, (shares, shapes, cells), and how expected each shape is."""
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
    # Curves that separate wholly leave cells empty: less likely than any other, and yet finite.
    return np.log(np.maximum(cells, np.finfo(np.float64).tiny)), prior
