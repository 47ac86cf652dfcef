import time

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from a2bgan.detection.measures.bootstrap import bootstrap_auroc_interval, weighted_auroc


@pytest.mark.parametrize("ties", [False, True])
def test_weighted_auroc_equals_scikit_learns(ties: bool) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 80)
    scores = labels + rng.standard_normal(80)
    scores = scores.round() if ties else scores
    weights = rng.integers(0, 4, (30, 80))
    expected = [roc_auc_score(labels, scores, sample_weight=row) for row in weights]
    np.testing.assert_allclose(weighted_auroc(labels, scores, weights), expected, atol=1e-12)


def test_weighted_auroc_of_one_class_is_nan() -> None:
    weights = np.array([[1, 1, 0], [0, 0, 2], [1, 0, 1]])
    aurocs = weighted_auroc([0, 0, 1], [0.1, 0.2, 0.3], weights)
    np.testing.assert_array_equal(aurocs, [np.nan, np.nan, 1.0])


def test_interval_equals_a_loop_over_resampled_patients() -> None:
    rng = np.random.default_rng(1)
    patients = np.array([f"p{number}" for number in rng.integers(0, 40, 120)])
    labels = rng.integers(0, 2, 120)
    scores = 0.8 * labels + rng.standard_normal(120)
    names = np.unique(patients)
    aurocs = []
    for _ in range(1000):
        drawn = rng.choice(names, len(names))
        images = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        aurocs.append(roc_auc_score(labels[images], scores[images]))
    interval = bootstrap_auroc_interval(labels, scores, patients, level=0.9, repeats=4000)
    assert interval == pytest.approx(np.quantile(aurocs, [0.05, 0.95]), abs=0.015)


def test_images_of_one_patient_stay_together() -> None:
    # Nine copies of every image add no knowledge, so the interval must not get narrower.
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 2, 60)
    scores = labels + rng.standard_normal(60)
    single = bootstrap_auroc_interval(labels, scores, np.arange(60))
    copies = bootstrap_auroc_interval(
        np.tile(labels, 9), np.tile(scores, 9), np.tile(np.arange(60), 9)
    )
    apart = bootstrap_auroc_interval(np.tile(labels, 9), np.tile(scores, 9), np.arange(540))
    assert single is not None
    assert apart is not None
    assert copies == pytest.approx(single)
    assert apart[1] - apart[0] < 0.5 * (single[1] - single[0])


def test_same_seed_same_interval() -> None:
    rng = np.random.default_rng(3)
    labels, scores, patients = rng.integers(0, 2, 50), rng.standard_normal(50), np.arange(50)
    first = bootstrap_auroc_interval(labels, scores, patients, seed=5)
    assert first == bootstrap_auroc_interval(labels, scores, patients, seed=5)
    assert first != bootstrap_auroc_interval(labels, scores, patients, seed=6)


def test_replicates_of_one_class_are_drawn_again() -> None:
    # With one abnormal patient, 37 % of the draws hold no abnormal image.
    labels = np.array([1] + [0] * 9)
    scores = np.array([5.0, 1, 2, 3, 4, 6, 7, 8, 9, 10])
    interval = bootstrap_auroc_interval(labels, scores, np.arange(10), repeats=500)
    assert interval is not None
    low, high = interval
    assert 0 < low < 4 / 9 < high <= 1


@pytest.mark.parametrize(
    ("labels", "patients"),
    [([0, 0, 0], [1, 2, 3]), ([1, 1, 1], [1, 2, 3]), ([0, 1, 0], [1, 1, 1]), ([], [])],
    ids=["all normal", "all abnormal", "one patient", "no images"],
)
def test_no_interval_without_two_classes_and_two_patients(
    labels: list[int], patients: list[int]
) -> None:
    scores = np.linspace(0, 1, len(labels))
    assert bootstrap_auroc_interval(labels, scores, patients) is None


def test_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(4)
    # Score = class shift + patient effect + image noise, both of variance 1/2: the AUROC of a new
    # pair of patients is known.
    truth = norm.cdf(1 / np.sqrt(2))
    patient = np.repeat(np.arange(80), 3)
    covered = 0
    for _ in range(200):
        labels = (rng.random(80) < 0.5)[patient].astype(int)
        effect = rng.standard_normal(80)[patient]
        scores = labels + np.sqrt(0.5) * (effect + rng.standard_normal(240))
        interval = bootstrap_auroc_interval(labels, scores, patient, repeats=400)
        assert interval is not None
        covered += interval[0] <= truth <= interval[1]
    assert 0.90 <= covered / 200 <= 0.99


def test_is_fast_on_a_large_test_set() -> None:
    rng = np.random.default_rng(5)
    labels = rng.integers(0, 2, 3000)
    scores = labels + rng.standard_normal(3000)
    begin = time.process_time()
    bootstrap_auroc_interval(labels, scores, np.arange(3000))
    assert time.process_time() - begin < 4
