"""Correlation of healthy images' scores with trivial statistics of their files, such as exposure.

Before training, `shortcuts.audit_shortcuts` asks which statistic tells the sets apart; the score
shows what networks made of them. Among healthy images a score that follows a statistic follows no
disease, and false alarms fall at one end of it. Only monotonous dependence is found.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from a2bgan.data.config import DataConfig
from a2bgan.data.image_statistics import FILE_STATISTICS, PIXEL_STATISTICS
from a2bgan.data.manifest import Row
from a2bgan.detection.audit.shortcuts import FEWEST_PATIENTS, remedy
from a2bgan.detection.audit.trivial_statistics import LOOKED_AT, measure_files
from a2bgan.detection.patient_scores import by_patient

LIMIT = 0.3
"""A score follows a statistic when their correlation is further from 0 than this, and its interval
does not hold 0."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """Rank correlation of the score with one statistic of the files as they are.

    correlation: Spearman's, over patients, in [-1, 1]. interval: at 95 % for all statistics of an
        audit together (Bonett and Wright, Psychometrika 2000; Bonferroni).
    """

    statistic: str
    correlation: float
    interval: tuple[float, float]

    @property
    def follows(self) -> bool:
        """True where it is further from 0 than `LIMIT`, with an interval that excludes 0."""
        low, high = self.interval
        return abs(self.correlation) > LIMIT and (low > 0 or high < 0)

    def warning(self) -> str:
        """One line on what was found, what it means and what may help."""
        end = "high" if self.correlation > 0 else "low"
        return (
            f"the score of healthy images follows the {self.statistic} of their files (Spearman "
            f"{self.correlation:.2f}): false alarms fall where it is {end}; if it is not set yet, "
            f"{remedy(self.statistic)}"
        )


@dataclass(frozen=True, slots=True)
class ScoreAudit:
    """A Dependence for each statistic that varies, and how much was looked at."""

    dependences: list[Dependence]
    images: int
    patients: int

    def warnings(self) -> list[str]:
        """One line for each statistic that the score follows."""
        return [d.warning() for d in self.dependences if d.follows]

    def table(self) -> list[tuple[str, str]]:
        """Each statistic with its correlation and interval, marked * where the score follows."""
        return [
            (
                d.statistic,
                f"{d.correlation:.2f} ({d.interval[0]:.2f} to {d.interval[1]:.2f})"
                f"{' *' if d.follows else ''}",
            )
            for d in self.dependences
        ]


def audit_score(
    healthy: Sequence[Row], scores: NDArray[np.float64], config: DataConfig, rule: str
) -> ScoreAudit | None:
    """Correlate the score of healthy images with trivial statistics of their files.

    Args:
        healthy: images of one data set, of healthy patients, that nothing was learned from; at most
            `trivial_statistics.LOOKED_AT` of them are looked at.
        scores: (N,), theirs. Those that are not finite are left out, as are unreadable files.
        config: how files are read.
        rule: of `patient_scores`; statistics are averaged.

    Returns None where fewer than `shortcuts.FEWEST_PATIENTS` are left or all score the same.
    """
    kept = np.flatnonzero(np.isfinite(scores))
    if len(kept) > LOOKED_AT:
        kept = np.sort(np.random.default_rng(0).choice(kept, LOOKED_AT, replace=False))
    rows = [healthy[i] for i in kept.tolist()]
    measured = [
        (row.patient_id, score, np.concatenate([found.original, found.file]))
        for row, score, found in zip(rows, scores[kept], measure_files(rows, config), strict=True)
        if found is not None
    ]
    patients = np.array([patient for patient, _, _ in measured], dtype=np.str_)
    of_patients = by_patient(patients, np.array([score for _, score, _ in measured]), rule)
    by_score = np.array(list(of_patients.values()))
    if len(of_patients) < FEWEST_PATIENTS or np.ptp(by_score) == 0:
        return None
    columns = np.array([values for _, _, values in measured]).T
    statistics = {
        name: np.array(list(by_patient(patients, values, "mean").values()))
        for name, values in zip((*PIXEL_STATISTICS, *FILE_STATISTICS), columns, strict=True)
    }
    varying = {name: values for name, values in statistics.items() if np.ptp(values) > 0}
    found = []
    for name, values in varying.items():
        correlation = float(spearmanr(values, by_score).statistic)
        found.append(
            Dependence(name, correlation, _interval(correlation, len(of_patients), len(varying)))
        )
    return ScoreAudit(found, len(measured), len(of_patients))


def _interval(correlation: float, patients: int, statistics: int) -> tuple[float, float]:
    reach = norm.ppf(1 - 0.025 / statistics) * np.sqrt((1 + correlation**2 / 2) / (patients - 3))
    centre = np.arctanh(np.clip(correlation, 1 / patients - 1, 1 - 1 / patients))
    low, high = np.tanh(centre - reach), np.tanh(centre + reach)
    return min(correlation, float(low)), max(correlation, float(high))
