import re

import numpy as np
import pytest

from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.thresholds import (
    describe_contours,
    outlier_warning,
    too_few_patients,
    why_no_contours,
)
from a2bgan.detection.measures import conformal
from a2bgan.detection.pick import Pick


@pytest.mark.parametrize("patients", [1, 2, 6, 12, 98])
def test_the_rate_that_is_named_can_be_reached(patients: int) -> None:
    said = too_few_patients(patients, 0.01)
    named = re.search(r"a rate of (\S+) or more", said)
    assert named is not None
    rate = float(named[1])
    assert conformal.fewest_patients(rate) <= patients
    assert conformal.fewest_patients(rate - 0.002) > patients
    assert said.startswith(f"{patients} held-out healthy {'patient is' if patients == 1 else ''}")


def test_enough_patients_are_not_warned_of() -> None:
    assert too_few_patients(99, 0.01) == ""
    assert too_few_patients(19, 0.05) == ""


def calibration(patients: int, pixel_threshold: float | None) -> Calibration:
    zeros, pick = np.zeros(patients), Pick("last", "raw", "mean", "last")
    whose = np.arange(patients)
    return Calibration(pick, zeros, zeros, zeros, zeros, whose, pixel_threshold)


def test_what_contours_promise_is_said_and_why_there_are_none() -> None:
    said = describe_contours(calibration(39, 0.125))
    assert said.startswith("contours are drawn around map values above 0.12500: at most 5.0%")
    assert "healthy images like the 39 held-out ones get any, on average" in said
    assert why_no_contours(calibration(39, 0.125)) == ""
    few = why_no_contours(calibration(18, None))
    assert few.startswith("18 held-out healthy images are too few: with 19 or more at most one")
    assert describe_contours(calibration(18, None)) == f"no contours: {few}"
    assert why_no_contours(calibration(1, None)).startswith("1 held-out healthy image is too")
    older = why_no_contours(calibration(19, None))
    assert older == "the run was calibrated without them; `a2bgan calibrate` makes it anew"


def outliers(scores):
    scores = np.sort(np.array(scores, dtype=np.float64))
    images = np.zeros(len(scores))
    pick = Pick("step-1", "raw", "mean", "last")
    return outlier_warning(Calibration(pick, scores, images, images, images, images.astype(int)))


def test_outliers_are_named_where_the_threshold_is_theirs():
    rng = np.random.default_rng(0)
    assert "of the 25 held-out healthy patients, 1 scores far" in outliers([*range(24), 500])
    assert outliers([*range(25)]) == ""
    assert outliers(rng.normal(size=100)) == ""
    assert outliers([*range(99), 5000]) == ""  # the threshold is the fifth highest score
    assert "patients, 5 score far" in outliers([*range(95), *[5000] * 5])
    assert outliers([0, 500]) == ""  # nobody is flagged
    assert outliers([]) == ""
