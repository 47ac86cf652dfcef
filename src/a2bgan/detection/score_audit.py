"""Whether the score of healthy images follows trivial statistics of their files, such as exposure.

`shortcuts.audit_shortcuts` asks, before training, what tells the sets apart one statistic at a
time; networks combine them, and preprocessing hides some. This asks the score itself. Among healthy
images whatever it follows is no disease, and its false alarms fall at one end of that.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm, spearmanr

from a2bgan.data.image_statistics import FILE_STATISTICS, PIXEL_STATISTICS
from a2bgan.data.manifest import Row
from a2bgan.data.preprocessing import DataConfig
from a2bgan.detection.shortcuts import FEWEST_PATIENTS, remedy
from a2bgan.detection.trivial_statistics import measure_images

LIMIT = 0.3
"""A score follows a statistic when their correlation is further from 0 than this, and its interval
does not hold 0."""


@dataclass(frozen=True, slots=True)
class Dependence:
    """How far the score rises or falls with one statistic of the files as they are.

    correlation: Spearman's, over patients, in [-1, 1]. interval: at 95 % for all statistics of an
        audit together (Bonett and Wright, Psychometrika 2000; Bonferroni).
    """

    statistic: str
    correlation: float
    interval: tuple[float, float]

    @property
    def follows(self) -> bool:
        """Whether the score follows the statistic for sure."""
        low, high = self.interval
        return abs(self.correlation) > LIMIT and (low > 0 or high < 0)

    def warning(self) -> str:
        """What was found, what it means and what may help, in one line."""
        end = "high" if self.correlation > 0 else "low"
        return (
            f"the score of healthy images follows the {self.statistic} of their files (Spearman "
            f"{self.correlation:.2f}): false alarms fall where it is {end}; "
            f"{remedy(self.statistic)}"
        )


@dataclass(frozen=True, slots=True)
class ScoreAudit:
    """What `audit_score` found: a Dependence for each statistic that is not the same everywhere."""

    dependences: list[Dependence]
    images: int
    patients: int

    @property
    def enough(self) -> bool:
        """Whether there are patients enough to name anything."""
        return self.patients >= FEWEST_PATIENTS

    def warnings(self) -> list[str]:
        """One line for each statistic that the score follows."""
        return [d.warning() for d in self.dependences if d.follows] if self.enough else []

    def table(self) -> list[tuple[str, str]]:
        """Each statistic with its correlation and interval, marked * where the score follows."""
        return [
            (
                d.statistic,
                f"{d.correlation:.2f} ({d.interval[0]:.2f} to {d.interval[1]:.2f})"
                f"{' *' if self.enough and d.follows else ''}",
            )
            for d in self.dependences
        ]


def audit_score(
    healthy: Sequence[Row],
    score: Callable[[NDArray[np.generic]], NDArray[np.float64]],
    config: DataConfig,
) -> ScoreAudit | None:
    """Correlate the score of healthy images with trivial statistics of their files.

    Args:
        healthy: images that nothing was learned from; at most `trivial_statistics.LOOKED_AT` are
            looked at. Several of a patient count as their mean.
        score: from preprocessed images (N, C, H, W) to scores (N,).
        config: how images are preprocessed.

    Returns None where there are fewer than four patients with an image that can be read. Raises
    InputError for the cache folder only.
    """
    measured = measure_images(healthy, config)
    patients, index = np.unique([item.patient for item in measured], return_inverse=True)
    if len(patients) < 4:
        return None

    def of_patients(values: NDArray[np.float64]) -> NDArray[np.float64]:
        means: NDArray[np.float64] = np.bincount(index, values) / np.bincount(index)
        return means.astype(np.float32).astype(np.float64)  # what is the same is tied

    scores = of_patients(score(np.stack([item.image for item in measured])))
    columns = np.array([(*item.original, *item.file) for item in measured]).T
    statistics = {
        name: of_patients(values)
        for name, values in zip((*PIXEL_STATISTICS, *FILE_STATISTICS), columns, strict=True)
    }
    varying = {name: values for name, values in statistics.items() if np.ptp(values) > 0}
    found = []
    for name, values in varying.items():
        correlation = float(spearmanr(values, scores).statistic) if np.ptp(scores) > 0 else 0.0
        interval = _interval(correlation, len(patients), len(varying))
        found.append(Dependence(name, correlation, interval))
    return ScoreAudit(found, len(measured), len(patients))


def _interval(correlation: float, patients: int, statistics: int) -> tuple[float, float]:
    reach = norm.ppf(1 - 0.025 / statistics) * np.sqrt((1 + correlation**2 / 2) / (patients - 3))
    centre = np.arctanh(np.clip(correlation, -1 + 1e-9, 1 - 1e-9))
    return float(np.tanh(centre - reach)), float(np.tanh(centre + reach))
