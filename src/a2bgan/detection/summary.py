"""Sentences on the results of an evaluation."""

from collections.abc import Mapping, Sequence
from typing import Any

from a2bgan.detection.measures.position import position_warning
from a2bgan.rounding import measure_text, percent

CLEAR = 0.7
"""Lower end of an AUROC's interval from which separation is beyond doubt."""


def separation(interval: Sequence[float] | None) -> str:
    """The end of a sentence on how well a score separates "them", by the lower end of its interval.

    Without an interval nothing is known to be above chance.
    """
    low = 0.0 if interval is None else interval[0]
    if low <= 0.5:
        return "does not separate them"
    return "separates them" if low >= CLEAR else "separates them weakly"


def summary_sentence(metrics: Mapping[str, Any]) -> str | None:
    """One sentence about what `evaluate` measured; None where there is no AUROC."""
    if metrics.get("auroc") is None:
        return None
    found = separation(metrics.get("auroc_ci"))
    sentence = f"normal and abnormal images: the score {found}"
    if "sensitivity" in metrics and "specificity" in metrics:
        sentence += (
            f"; the threshold flags {percent(metrics['sensitivity'])} of the abnormal and "
            f"{percent(1 - metrics['specificity'])} of the normal {metrics['counted_as']}"
        )
    return sentence


def metric_warnings(metrics: Mapping[str, Any]) -> list[str]:
    """Sentences where a map points no better than a guess of the usual place, or one trivial
    statistic of the images separates them as well as the score."""
    found = [] if (sentence := position_warning(metrics)) is None else [sentence]
    trivial = metrics.get("trivial_auroc")
    if trivial is not None and metrics.get("auroc") is not None and trivial >= metrics["auroc"]:
        found.append(
            f"{metrics['trivial_statistic']} alone separates them as well (AUROC "
            f"{measure_text(trivial)}): the score may have learned nothing else"
        )
    return found
