"""Sentences on the promises of calibrated thresholds and on their weaknesses."""

import math

import numpy as np

from a2bgan.detection import RATE
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.measures import conformal

FAR = 1.0
"""Distance, in interquartile ranges, between outliers and the scores below them. Of 25 normally
distributed scores, the highest is so far away in 6 of 100 sets."""


def threshold_warnings(calibration: Calibration, rate: float = RATE) -> list[str]:
    """Sentences on weaknesses of the threshold of scores at a rate."""
    found = too_few_patients(len(calibration.patient_scores), rate), outlier_warning(calibration)
    return [sentence for sentence in found if sentence]


def too_few_patients(patients: int, rate: float) -> str:
    """Why nothing can be flagged at a rate with so many calibration patients, at least 1, and what
    can be done; "" where they are enough."""
    needed = conformal.fewest_patients(rate)
    if patients >= needed:
        return ""
    are = "patient is" if patients == 1 else "patients are"
    # 1 / (n + 1) is the smallest possible p-value; rounded down it would not be reached.
    reachable = math.ceil(1000 / (patients + 1)) / 1000
    return (
        f"{patients} held-out healthy {are} too few for a rate of {rate:g}: nothing can be "
        f"flagged; {needed} are needed: train with more healthy patients, or accept a rate of "
        f"{reachable:g} or more"
    )


def outlier_warning(calibration: Calibration) -> str:
    """A sentence where outliers among the held-out healthy patients decide the threshold at `RATE`;
    "" where they do not."""
    scores = np.sort(calibration.patient_scores)[::-1]
    outliers = conformal.flagged_ranks(len(scores), RATE)  # the last of these is the threshold
    if not outliers or outliers >= len(scores):
        return ""
    low, high = np.quantile(scores, [0.25, 0.75])
    if scores[outliers - 1] - scores[outliers] <= FAR * (high - low):
        return ""
    some = "1 scores" if outliers == 1 else f"{outliers} score"
    return (
        f"outliers set the threshold: of the {len(scores)} held-out healthy patients, {some} far "
        "above the rest; look at them: if one is not healthy, take it out of the healthy set and "
        "train again"
    )


def describe_threshold(calibration: Calibration, rate: float) -> str:
    """The promise of flagging at a rate; "" where there are too few patients to flag any."""
    patients = len(calibration.patient_scores)
    limit = conformal.threshold(calibration.patient_scores, rate)
    if not math.isfinite(limit):
        return ""
    ones = "the held-out one" if patients == 1 else f"the {patients} held-out ones"
    return (
        f"flag when p <= {rate:g} (score above {limit:.5f}): at most {rate:.1%} of healthy "
        f"patients like {ones}, on average over such sets; with 95 % confidence at most "
        f"{conformal.worst_rate(patients, rate):.1%} with this one"
    )


def describe_contours(calibration: Calibration) -> str:
    """The promise of the threshold of contours, for a method that makes maps; without a threshold,
    the reason and what can be done."""
    if why := why_no_contours(calibration):
        return f"no contours: {why}"
    return (
        f"contours are drawn around map values above {calibration.pixel_threshold:.5f}: at most "
        f"{RATE:.1%} of healthy images like the {len(calibration.image_scores)} held-out ones get "
        "any, on average over such sets"
    )


def why_no_contours(calibration: Calibration) -> str:
    """Why a method that makes maps has no threshold for contours; "" where it has one."""
    if calibration.pixel_threshold is not None:
        return ""
    images, needed = len(calibration.image_scores), conformal.fewest_patients(RATE)
    if images >= needed:
        return "the run was calibrated without them; `a2bgan calibrate` makes it anew"
    are = "image is" if images == 1 else "images are"
    return (
        f"{images} held-out healthy {are} too few: with {needed} or more at most one healthy "
        f"image in {round(1 / RATE)} gets any; train with more healthy images"
    )
