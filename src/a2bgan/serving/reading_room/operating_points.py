"""The places where the threshold can lie, and their cost: the slider of the reading room."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.measures import conformal
from a2bgan.serving.reading_room.cases import Case

HIGHEST_RATE = 0.5
MOST_POINTS = 200
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class OperatingPoint:
    """A threshold on the score.

    rate: share of healthy patients flagged, at most, on average over calibration sets.
    worst: the rate that this one calibration set exceeds with a chance of 5 % only.
    threshold: scores above it are flagged; None flags nothing.
    flagged: how many of the cases are.
    """

    rate: float
    worst: float
    threshold: float | None
    flagged: int


def p_values(calibration: Calibration, cases: list[Case]) -> NDArray[np.float64]:
    """(N,) of each case its patient's p-value; NaN where there is no score."""
    found = np.full(len(cases), np.nan)
    scores = np.array([np.nan if case.score is None else case.score for case in cases])
    scored = np.flatnonzero(~np.isnan(scores))
    if len(scored):
        patients = [cases[k].patient for k in scored]
        found[scored] = calibration.p_values(patients, scores[scored])
    return found


def operating_points(calibration: Calibration, p: NDArray[np.float64]) -> list[OperatingPoint]:
    """From nothing flagged to half of the healthy: one for each p-value there can be, thinned."""
    scores = calibration.patient_scores
    n = len(scores)
    highest = math.floor(HIGHEST_RATE * (n + 1))
    ranks = np.unique(np.linspace(0, highest, min(highest + 1, MOST_POINTS)).astype(int))
    points = []
    for rank in ranks.tolist():
        rate = rank / (n + 1)
        limit = conformal.threshold(scores, rate)
        threshold = limit if math.isfinite(limit) else None
        count = int(flagged(p, rate).sum())
        points.append(OperatingPoint(rate, conformal.worst_rate(n, rate), threshold, count))
    return points


def flagged(p: NDArray[np.float64], rate: float) -> NDArray[np.bool_]:
    """(N,) which cases are flagged at a rate; NaN never is."""
    under: NDArray[np.bool_] = p <= rate + _ROUNDING
    return under
