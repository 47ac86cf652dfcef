import re

import pytest

from a2bgan.detection import conformal
from a2bgan.report.thresholds import say_too_few


@pytest.mark.parametrize("patients", [1, 2, 6, 12, 98])
def test_the_rate_that_is_named_can_be_reached(patients: int) -> None:
    said = say_too_few(patients, 0.01)
    named = re.search(r"--fpr (\S+) or more", said)
    assert named is not None
    rate = float(named[1])
    assert conformal.fewest_patients(rate) <= patients
    assert conformal.fewest_patients(rate - 0.002) > patients
    assert said.startswith(f"{patients} held-out healthy {'patient is' if patients == 1 else ''}")


def test_enough_patients_are_not_warned_of() -> None:
    assert say_too_few(99, 0.01) == ""
    assert say_too_few(19, 0.05) == ""
