import math

import numpy as np
import pytest

from a2bgan.detection.measures.conformal import fewest_patients, p_values, threshold, worst_rate


def test_p_values_by_hand():
    calibration = [0.3, 0.1, 0.2, 0.2]
    np.testing.assert_allclose(
        p_values(calibration, [0.0, 0.1, 0.2, 0.25, 0.3, 0.9]),
        [5 / 5, 5 / 5, 4 / 5, 2 / 5, 2 / 5, 1 / 5],
    )


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1, 0.25])
@pytest.mark.parametrize("n", [5, 19, 20, 99, 250])
def test_the_threshold_flags_exactly_what_p_flags(n, rate):
    rng = np.random.default_rng(n)
    calibration, scores = rng.normal(size=n).round(1), rng.normal(size=500).round(1)
    flagged = p_values(calibration, scores) <= rate
    np.testing.assert_array_equal(scores > threshold(calibration, rate), flagged)
    assert flagged.any() or n < 99
    if n < fewest_patients(rate):
        assert threshold(calibration, rate) == math.inf


def test_as_many_healthy_are_flagged_as_is_promised():
    rng = np.random.default_rng(0)
    n, rate, repeats = 49, 0.1, 2000
    rates = []
    for _ in range(repeats):
        scores = rng.exponential(size=n + 200)
        rates.append(np.mean(p_values(scores[:n], scores[n:]) <= rate))
    # Continuous scores and rate * (n + 1) whole: the promise is kept with equality.
    assert np.mean(rates) == pytest.approx(rate, abs=0.004)
    assert np.mean(np.array(rates) > worst_rate(n, rate)) == pytest.approx(0.05, abs=0.03)


@pytest.mark.parametrize(("rate", "patients"), [(0.05, 19), (0.1, 9), (0.01, 99), (0.03, 33)])
def test_how_many_patients_a_rate_needs(rate, patients):
    assert fewest_patients(rate) == patients
    assert threshold(np.arange(patients), rate) < math.inf
    assert threshold(np.arange(patients - 1), rate) == math.inf
