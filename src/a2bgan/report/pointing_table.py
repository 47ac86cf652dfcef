"""The measures of where a map points, in words, beside those of a guess of the usual place."""

from collections.abc import Mapping
from typing import Any

from a2bgan.rounding import measure_text

POINTING = {
    "pixel_auroc": "AUROC of pixels",
    "pixel_ap": "average precision of pixels",
    "aupro": "per-region overlap (AUPRO)",
    "within_image_auroc": "AUROC of pixels within an image",
    "hit_rate": "hit rate: highest pixel in a lesion",
    "position_matched_auroc": "AUROC between images at the same place",
}
"""Measures of `a2bgan.detection.evaluate` and what they are called."""


def pointing_table(metrics: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Lines of the measure in words, its value for the map, and that of position alone.

    Args:
        metrics: of one run or, with their standard deviations, of repeated ones.

    Returns:
        No line where there is no map to compare with masks.
    """
    alone = {"position_matched_auroc": 0.5, **metrics.get("position_alone", {})}
    return [
        (words, _shown(metrics, name), _number(alone.get(name)))
        for name, words in POINTING.items()
        if name in metrics
    ]


def _shown(metrics: Mapping[str, Any], name: str) -> str:
    shown = _number(metrics[name])
    if (interval := metrics.get(f"{name}_ci")) is not None:
        shown += f" ({measure_text(interval[0])} to {measure_text(interval[1])})"
    if (spread := metrics.get(f"{name}_sd")) is not None:
        shown += f" (sd {measure_text(spread)})"
    return shown


def _number(value: float | None) -> str:
    return "not defined here" if value is None else measure_text(value)
