"""Facts of a case in words: score, p-value, threshold, flagged or not, slice."""

import math

from a2bgan.data.formats.slice_names import parse_slice
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.measures import conformal
from a2bgan.rounding import p_text, percent, score_text


def case_facts(
    score: float,
    p_value: float | None = None,
    calibration: Calibration | None = None,
    rate: float = 0.05,
) -> list[str]:
    """Score, p-value, whether the patient is flagged at a rate, and the threshold.

    p_value: of the patient; None without a calibration.
    """
    facts = [f"score {score_text(score)}"]
    if calibration is None or p_value is None:
        return [*facts, "no threshold"]
    limit = conformal.threshold(calibration.patient_scores, rate)
    facts.append(f"p {p_text(p_value)}")
    if not math.isfinite(limit):
        return [*facts, f"no threshold at {percent(rate)}: too few healthy patients"]
    flag = "flagged" if p_value <= rate else "not flagged"
    if p_value <= rate and score <= limit:
        flag = "flagged by another image of the patient"
    return [*facts, f"{flag} (threshold {score_text(limit)} at {percent(rate)})"]


def slice_text(name: object) -> str:
    """The axis and place of a slice's name, such as "axial slice 42"; "" for other images."""
    found = parse_slice(str(name))
    return "" if found is None else f"{found.axis} slice {found.place}"
