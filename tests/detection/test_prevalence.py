import numpy as np
import pytest

from a2bgan.detection.prevalence import estimate_diseased_share


def draw(rng, share, n=400, m=300, separation=3.3):
    diseased = rng.binomial(m, share)
    mixed = np.r_[rng.normal(size=m - diseased), rng.normal(separation, 1.3, diseased)]
    return rng.normal(size=n), mixed, diseased / m


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 0.8])
def test_finds_the_share_where_scores_separate(share):
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(20):
        healthy, mixed, truth = draw(rng, share)
        errors.append(estimate_diseased_share(healthy, mixed, repeats=2).share - truth)
    assert np.mean(np.abs(errors)) < 0.05


def test_the_interval_holds_the_share_about_as_often_as_it_says():
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(60):
        healthy, mixed, truth = draw(rng, 0.3)
        low, high = estimate_diseased_share(healthy, mixed, repeats=100).interval
        held += low <= truth <= high
    assert held >= 51  # 57 are expected


def test_only_the_order_of_scores_counts():
    healthy, mixed, _ = draw(np.random.default_rng(2), 0.3)
    one = estimate_diseased_share(healthy, mixed, repeats=5)
    assert estimate_diseased_share(np.exp(healthy), np.exp(mixed), repeats=5) == one


def test_patients_with_several_images_widen_the_interval():
    healthy, mixed, _ = draw(np.random.default_rng(3), 0.3, 200, 200)
    sets = [np.repeat(s, 4) for s in (healthy, mixed)]
    people = [np.repeat(np.arange(200), 4)] * 2

    def width(*patients):
        low, high = estimate_diseased_share(*sets, *patients).interval
        return high - low

    assert width(*people) > 1.5 * width()


def test_no_disease_is_little_disease():
    rng = np.random.default_rng(4)
    assert estimate_diseased_share(rng.normal(size=400), rng.normal(size=400)).share < 0.1


def test_empty_sets():
    with pytest.raises(ValueError, match="both sets"):
        estimate_diseased_share([], [1.0])
