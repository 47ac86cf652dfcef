"""Patient scores against their definitions."""

import numpy as np
import pytest

from a2bgan.detection.patient_scores import by_patient, of_patient


@pytest.mark.parametrize(
    ("rule", "expected"), [("max", 24.0), ("mean", 12.0), ("top-k", (24 + 23 + 22) / 3)]
)
def test_rules_are_what_they_say(rule: str, expected: float) -> None:
    scores = np.random.default_rng(0).permutation(25).astype(float)  # a tenth is 2.5: 3 slices
    assert by_patient(["a"] * 25, scores, rule) == {"a": expected}


def test_patients_keep_their_order_and_the_unknown_stand_alone() -> None:
    scores = np.array([1.0, 5.0, 3.0, 4.0])
    assert by_patient(["b", "a", "b", "a"], scores, "mean") == {"b": 2.0, "a": 4.5}
    assert of_patient(["b", "", "b", ""], scores, "mean").tolist() == [2.0, 5.0, 2.0, 4.0]
