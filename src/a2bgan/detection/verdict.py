"""Whether a score separates the sick from the healthy, in words, and what its threshold does."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from a2bgan.detection import conformal
from a2bgan.detection.calibration import Calibration
from a2bgan.detection.patient_scores import by_patient

RATE = 0.05
"""Patients whose p-value is at most this are flagged."""

CLEAR = 0.7
"""From here up the lower end of an AUROC's interval leaves no doubt about separation."""


def verdict(auroc: float, interval: Sequence[float] | None) -> str:
    """Whether a score separates "them", by the lower end of its interval.

    Without an interval nothing is known to be above chance.
    """
    low = 0.0 if interval is None else interval[0]
    if low <= 0.5:
        return "does not separate them"
    return "separates them" if low >= CLEAR else "separates them weakly"


def at_threshold(
    calibration: Calibration,
    patients: Sequence[str],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> dict[str, Any]:
    """Sensitivity and specificity over patients where those with p <= `RATE` are flagged, and
    ``confusion``, the patients behind them.

    patients, labels, scores: (N,) of images; a patient with an abnormal image is abnormal. The 95 %
    intervals are exact (Clopper-Pearson), as patients are independent. Nothing where so few healthy
    patients were held out that nobody can be flagged.
    """
    if len(calibration.patient_scores) < conformal.fewest_patients(RATE):
        return {}
    over = calibration.p_values(patients, scores) <= RATE
    flagged, sick = (
        np.array(list(by_patient(patients, each.astype(np.float64), "max").values())) > 0
        for each in (over, labels)
    )
    found: dict[str, Any] = {
        "confusion": {
            "abnormal_flagged": int(flagged[sick].sum()),
            "abnormal_missed": int((~flagged[sick]).sum()),
            "normal_flagged": int(flagged[~sick].sum()),
            "normal_left_alone": int((~flagged[~sick]).sum()),
        }
    }
    for name, right in (("sensitivity", flagged[sick]), ("specificity", ~flagged[~sick])):
        if len(right):
            interval = binomtest(int(right.sum()), len(right)).proportion_ci()
            found[name] = float(right.mean())
            found[f"{name}_ci"] = [float(interval.low), float(interval.high)]
    return found


def no_better_than_trivial(metrics: Mapping[str, Any]) -> str:
    """A sentence where one trivial statistic of the images is as good as the score; else ""."""
    trivial = metrics.get("trivial_auroc")
    if trivial is None or metrics.get("auroc") is None or trivial < metrics["auroc"]:
        return ""
    return (
        f"{metrics['trivial_statistic']} alone separates them as well (AUROC {trivial:.3f}): the "
        "score may have learned nothing else"
    )


def in_words(metrics: dict[str, Any]) -> str | None:
    """One sentence about what `evaluate` measured; None where there is no AUROC."""
    if metrics.get("auroc") is None:
        return None
    said = verdict(metrics["auroc"], metrics.get("auroc_ci"))
    said = f"normal and abnormal images: the score {said}"
    if "sensitivity" in metrics and "specificity" in metrics:
        said += (
            f"; the threshold flags {metrics['sensitivity']:.0%} of the abnormal and "
            f"{1 - metrics['specificity']:.0%} of the normal {metrics['counted_as']}"
        )
    return said
