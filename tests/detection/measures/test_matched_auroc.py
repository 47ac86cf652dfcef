import numpy as np
import pytest
from scipy.stats import norm

from a2bgan.detection.measures.matched_auroc import matched_auroc
from a2bgan.detection.measures.metrics import auroc


def simulated(seed: int, disease: float, follows: float, n: int = 400):
    """Labels, scores and a covariate that is lower in the abnormal by one standard deviation."""
    rng = np.random.default_rng(seed)
    labels = np.repeat((0, 1), n)
    covariate = rng.normal(size=2 * n) - labels
    scores = disease * labels - follows * covariate + rng.normal(size=2 * n)
    return labels, scores, covariate, np.arange(2 * n)


def test_it_is_the_mean_share_of_alike_normal_images_that_are_outscored():
    rng = np.random.default_rng(0)
    labels, covariate = rng.integers(0, 2, 80), rng.normal(size=80)
    scores = rng.integers(0, 9, 80)  # with ties
    controls = sorted((c, s) for c, s, k in zip(covariate, scores, labels, strict=True) if k == 0)
    places = []
    for c, s, k in zip(covariate, scores, labels, strict=True):
        below = sum(other < c for other, _ in controls)
        beside = min(3, below, len(controls) - below)
        if k and beside:
            alike = controls[below - beside : below + beside]
            places.append(np.mean([(s > other) + (s == other) / 2 for _, other in alike]))
    found = matched_auroc(labels, scores, covariate, np.arange(80), neighbours=3)
    assert found.auroc == pytest.approx(np.mean(places))
    assert found.matched == pytest.approx(len(places) / labels.sum())


def test_a_score_that_is_the_shortcut_alone_is_left_with_nothing():
    labels, scores, covariate, patients = simulated(1, disease=0, follows=3)
    assert auroc(labels, scores) > 0.7
    assert matched_auroc(labels, scores, covariate, patients).auroc == pytest.approx(0.5, abs=0.04)
    itself = matched_auroc(labels, -covariate, covariate, patients)
    assert itself.auroc == 0.5
    # Drawn twice, a normal image is still on one side of every abnormal one.
    assert itself.interval == (0.5, 0.5)


def test_what_is_disease_stays():
    """In the binormal model it is the AUROC of the disease's shift alone."""
    found = [matched_auroc(*simulated(seed, disease=1, follows=2)).auroc for seed in range(10)]
    assert np.mean(found) == pytest.approx(norm.cdf(1 / np.sqrt(2)), abs=0.02)


def test_a_covariate_that_never_varies_changes_nothing():
    labels, scores, covariate, patients = simulated(2, disease=1, follows=1)
    found = matched_auroc(labels, scores, np.zeros_like(covariate), patients)
    assert found.auroc == pytest.approx(auroc(labels, scores))
    assert found.matched == 1


def test_the_interval_holds_the_truth_about_as_often_as_it_says():
    truth = norm.cdf(1 / np.sqrt(2))
    hits = 0
    for seed in range(40):
        low, high = matched_auroc(*simulated(seed, disease=1, follows=1, n=80)).interval
        hits += low <= truth <= high
    assert hits >= 33  # 38 are expected


def test_abnormal_images_beyond_all_normal_ones_have_no_match():
    labels, covariate = np.array([0, 0, 0, 1, 1]), np.array([1.0, 2.0, 3.0, 1.5, 9.0])
    scores = np.array([1.0, 0.0, 5.0, 2.0, 0.0])
    found = matched_auroc(labels, scores, covariate, np.arange(5))
    assert (found.auroc, found.matched) == (1.0, 0.5)
    none = matched_auroc(labels, scores, np.array([1.0, 2.0, 3.0, 8.0, 9.0]), np.arange(5))
    assert np.isnan(none.auroc) and none.interval is None and none.matched == 0


def test_repeated_trainings_are_averaged():
    labels, one, covariate, patients = simulated(3, disease=1, follows=1)
    other = np.random.default_rng(9).permutation(one)
    both = matched_auroc(labels, [one, other], covariate, patients).auroc
    each = [matched_auroc(labels, s, covariate, patients).auroc for s in (one, other)]
    assert both == pytest.approx(np.mean(each))
