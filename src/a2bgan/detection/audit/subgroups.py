"""AUROC of a score within each view, side, scanner, station, age group and sex."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.acquisition import groups_of
from a2bgan.data.manifest import Row
from a2bgan.detection.measures.delong import auroc_with_error

FEWEST_PATIENTS = 10
"""Fewest normal, and fewest abnormal, patients of a group."""

REACH = 1.96
"""Standard errors on each side of a 95 % interval."""


@dataclass(frozen=True, slots=True)
class Subgroup:
    """The AUROC among images that have one value of one property in common.

    normal, abnormal: how many images; interval: 95 %, DeLong's over patients.
    """

    property: str
    value: str
    normal: int
    abnormal: int
    auroc: float
    interval: tuple[float, float]

    def cells(self) -> tuple[str, str, str, str]:
        """A line of a table: the group, its normal and abnormal images, the AUROC."""
        low, high = self.interval
        shown = f"{self.auroc:.3f} ({low:.3f} to {high:.3f})"
        return f"{self.property} {self.value}", str(self.normal), str(self.abnormal), shown


def subgroups(
    rows: Sequence[Row], labels: NDArray[np.int64], scores: NDArray[np.float64]
) -> list[Subgroup]:
    """AUROCs of the groups of rows (N,) that are large enough, by property and value.

    labels, scores: (N,), 1 abnormal. A property that all rows have in common makes no group.
    """
    patients = np.array([row.patient_id for row in rows], dtype=np.str_)
    found = []
    for name, values in groups_of(rows).items():
        of_row = np.array(values, dtype=np.str_)
        if len(set(values)) < 2:
            continue
        for value in np.unique(of_row[of_row != ""]).tolist():
            chosen = of_row == value
            normal, abnormal = (
                len(np.unique(patients[chosen & (labels == label)])) for label in (0, 1)
            )
            if min(normal, abnormal) < FEWEST_PATIENTS:
                continue
            auroc, error = auroc_with_error(labels[chosen], scores[chosen], patients[chosen])
            interval = max(0.0, auroc - REACH * error), min(1.0, auroc + REACH * error)
            counts = [int((labels[chosen] == label).sum()) for label in (0, 1)]
            found.append(Subgroup(name, value, counts[0], counts[1], auroc, interval))
    return found
