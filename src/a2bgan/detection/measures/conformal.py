"""p-values that hold for any score, from healthy images that nothing was learned from.

If a new healthy patient is exchangeable with the n calibration patients (drawn alike: same
scanner, protocol and population), then ``P(p <= a) <= a`` for every a, whatever the score (Vovk,
Gammerman and Shafer 2005). The guarantee is an average over calibration sets; `worst_rate` bounds
the rate of a single one. It does not hold for another scanner.
"""

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray


def p_values(calibration: ArrayLike, scores: ArrayLike) -> NDArray[np.float64]:
    """p-values of scores among healthy ones: ``(1 + number of calibration >= s) / (n + 1)``.

    Args:
        calibration: (N,) scores of healthy patients, N >= 1.
        scores: (M,), higher is more abnormal.

    Returns:
        (M,) in [1 / (N + 1), 1].
    """
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))
    at_least = len(ordered) - np.searchsorted(ordered, np.asarray(scores, np.float64), "left")
    p: NDArray[np.float64] = (1 + at_least) / (len(ordered) + 1)
    return p


def threshold(calibration: ArrayLike, rate: float) -> float:
    """Scores above this have ``p <= rate``; infinity where there are too few calibration scores."""
    ordered = np.sort(np.asarray(calibration, dtype=np.float64))[::-1]
    allowed = flagged_ranks(len(ordered), rate)
    return float(ordered[allowed - 1]) if allowed >= 1 else math.inf


def fewest_patients(rate: float) -> int:
    """Calibration patients without which nothing can be flagged at a rate: ``1 / rate - 1``."""
    return math.ceil(1 / rate - 1 - 1e-9)


def worst_rate(patients: int, rate: float, confidence: float = 0.95) -> float:
    """Rate of healthy patients flagged that this calibration set exceeds with 5 % chance only.

    Over calibration sets the rate is at most Beta distributed (Vovk 2012).
    """
    from scipy.stats import beta  # takes a while

    allowed = flagged_ranks(patients, rate)
    return float(beta.ppf(confidence, allowed, patients + 1 - allowed)) if allowed >= 1 else 0.0


def flagged_ranks(patients: int, rate: float) -> int:
    """Number of the n + 1 possible p-values that are at most the rate."""
    return math.floor(rate * (patients + 1) + 1e-9)
