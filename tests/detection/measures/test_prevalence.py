import numpy as np
import pytest

from a2bgan.detection.measures.prevalence import estimate_diseased_share


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
        errors.append(estimate_diseased_share(healthy, mixed).share - truth)
    assert np.mean(np.abs(errors)) < 0.05


@pytest.mark.parametrize(("n", "m"), [(400, 300), (60, 60)])
@pytest.mark.parametrize("share", [0, 0.05, 0.3, 0.8])
def test_the_interval_holds_the_share_as_often_as_it_says(share, n, m):
    rng = np.random.default_rng(1)
    held, errors = 0, []
    for _ in range(80):
        healthy, mixed, truth = draw(rng, share, n, m)
        found = estimate_diseased_share(healthy, mixed)
        low, high = found.interval
        held += low <= truth + 1e-9 and high >= truth - 1e-3
        errors.append(found.share - truth)
    assert held >= 72  # 76 are promised; fewer than 72 come by chance once in 60 times
    assert abs(np.mean(errors)) < (0.02 if n == 400 else 0.04)


def test_only_the_order_of_scores_counts():
    healthy, mixed, _ = draw(np.random.default_rng(2), 0.3)
    one = estimate_diseased_share(healthy, mixed)
    assert estimate_diseased_share(np.exp(healthy), np.exp(mixed)) == one


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
    found = estimate_diseased_share(rng.normal(size=400), rng.normal(size=400))
    assert found.share < 0.05
    assert found.interval[0] == 0


@pytest.mark.parametrize("count", [4, 100])
def test_scores_that_are_all_the_same_say_nothing(count):
    found = estimate_diseased_share(np.ones(count), np.ones(60))
    assert 0.4 < found.share < 0.6
    assert found.interval[0] < 0.05
    assert found.interval[1] > 0.95


def test_ties_among_the_healthy_say_little_and_those_beyond_as_much_as_ever():
    healthy, mixed, truth = draw(np.random.default_rng(5), 0.3)
    whole = estimate_diseased_share(healthy, mixed)
    floored = estimate_diseased_share(np.maximum(healthy, 1), np.maximum(mixed, 1))
    assert floored.share == pytest.approx(whole.share, abs=0.05)
    assert floored.interval[0] <= truth <= floored.interval[1]
    two = estimate_diseased_share(healthy > 0, mixed > 0)
    assert np.diff(two.interval) > 1.5 * np.diff(whole.interval)


def test_ties_of_mixed_images_alone_are_none():
    healthy, mixed, _ = draw(np.random.default_rng(6), 0.3)
    order = np.searchsorted(np.sort(healthy), mixed)  # between which of the healthy
    tied = np.r_[-np.inf, np.sort(healthy), np.inf][[order, order + 1]].clip(-9, 9).mean(axis=0)
    assert estimate_diseased_share(healthy, tied).share == pytest.approx(
        estimate_diseased_share(healthy, mixed).share
    )


@pytest.mark.parametrize("count", [5, 60])
def test_scores_that_separate_wholly_leave_an_interval(count):
    found = estimate_diseased_share(np.arange(50), 100 + np.arange(count))
    low, high = found.interval
    assert low < found.share <= high
    assert high == 1  # all are diseased


def test_empty_sets():
    with pytest.raises(ValueError, match="both sets"):
        estimate_diseased_share([], [1.0])


@pytest.mark.parametrize("count", [5, 9, 15])
def test_few_healthy_ones_give_a_wide_interval_around_the_share(count):
    rng = np.random.default_rng(5)
    mixed = np.r_[rng.normal(size=70), rng.normal(5, 1, 30)]
    found = [estimate_diseased_share(rng.normal(size=count), mixed) for _ in range(20)]
    assert 0.15 < np.mean([f.share for f in found]) < 0.45
    assert np.mean([f.interval[0] < 0.3 < f.interval[1] for f in found]) > 0.8


def test_patients_with_many_images_tell_little():
    """One patient's many images do not make the interval narrow."""
    rng = np.random.default_rng(0)
    healthy, mixed = rng.normal(size=60), rng.normal(size=60)
    each = estimate_diseased_share(healthy, mixed)
    patients = np.r_[np.zeros(50), np.arange(1, 11)]
    few = estimate_diseased_share(healthy, mixed, patients, patients)
    assert few.interval[1] > each.interval[1] + 0.2
