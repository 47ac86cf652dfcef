"""What a score is said to be worth, and what its threshold does."""

import numpy as np
import pytest
from scipy.stats import beta

from a2bgan.detection.calibration import Calibration
from a2bgan.detection.trained import Pick
from a2bgan.detection.verdict import at_threshold, in_words, verdict


def calibration(count: int) -> Calibration:
    scores = np.arange(count, dtype=float)
    pick = Pick("step-00000001", "raw", "mean", "last")
    return Calibration(pick, scores, scores, scores, scores, np.arange(count))


@pytest.mark.parametrize(
    ("interval", "said"),
    [
        ((0.4, 0.9), "does not separate them"),
        ((0.5, 0.9), "does not separate them"),
        (None, "does not separate them"),
        ((0.51, 0.9), "separates them weakly"),
        ((0.7, 0.9), "separates them"),
    ],
)
def test_the_word_follows_the_lower_end_of_the_interval(interval, said):
    assert verdict(0.8, interval) == said


def test_patients_are_flagged_as_p_values_say():
    # Of 39 healthy patients with scores 0 to 38, above 37 is p <= 2 / 40.
    patients = ["a", "a", "b", "c", "d", "e"]
    scores = np.array([0.0, 38.5, 37.5, 99.0, 1.0, 50.0])
    labels = np.array([0, 1, 1, 1, 0, 0])
    found = at_threshold(calibration(39), patients, labels, scores)
    assert found["sensitivity"] == 1.0  # a, b and c
    assert found["specificity"] == 0.5  # d, but not e
    np.testing.assert_allclose(found["sensitivity_ci"], [beta.ppf(0.025, 3, 1), 1])
    low, high = beta.ppf(0.025, 1, 2), beta.ppf(0.975, 2, 1)
    np.testing.assert_allclose(found["specificity_ci"], [low, high])
    assert found["confusion"] == {
        "abnormal_flagged": 3, "abnormal_missed": 0, "normal_flagged": 1, "normal_left_alone": 1
    }  # fmt: skip


def test_nothing_is_said_where_nobody_can_be_flagged():
    assert at_threshold(calibration(18), ["a"], np.array([1]), np.array([99.0])) == {}


def test_measures_become_one_sentence():
    measures = {"auroc": 0.9, "auroc_ci": [0.6, 0.95]}
    assert in_words(measures) == "normal and abnormal images: the score separates them weakly"
    measures |= {"sensitivity": 0.25, "specificity": 0.9, "counted_as": "patients"}
    assert in_words(measures).endswith(
        "; the threshold flags 25% of the abnormal and 10% of the normal patients"
    )
    assert in_words({"auroc": None}) is None
