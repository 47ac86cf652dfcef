import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from a2bgan.detection.measures.delong import (
    auroc_covariance,
    auroc_with_error,
    compare_aurocs,
    holm,
)


def draw(rng, n=40, m=30, shift=1.0):
    labels = np.repeat((0, 1), (n, m))
    first = labels * shift + rng.normal(size=n + m)
    return labels, first, first + rng.normal(size=n + m)


def textbook(labels, first, second):
    """DeLong's covariance by its definition, every pair of images one by one."""
    places = []
    for scores in (first, second):
        won = np.array(
            [[(p > q) + 0.5 * (p == q) for q in scores[labels == 0]] for p in scores[labels == 1]]
        )
        places.append((won.mean(axis=1), won.mean(axis=0)))
    v10, v01 = (np.cov([places[0][k], places[1][k]]) for k in (0, 1))
    return v10 / (labels == 1).sum() + v01 / (labels == 0).sum()


@pytest.mark.parametrize("digits", [8, 0])  # 0: many ties
def test_agrees_with_the_definition(digits):
    labels, first, second = draw(np.random.default_rng(0))
    first, second = first.round(digits), second.round(digits)
    aurocs, covariance = auroc_covariance(labels, np.stack([first, second]))
    assert aurocs[0] == pytest.approx(roc_auc_score(labels, first))
    assert aurocs[1] == pytest.approx(roc_auc_score(labels, second))
    np.testing.assert_allclose(covariance, textbook(labels, first, second), rtol=1e-10)


def test_copies_of_a_patient_s_image_tell_nothing_new():
    labels, scores, _ = draw(np.random.default_rng(1))
    one = auroc_with_error(labels, scores)
    three = auroc_with_error(
        np.repeat(labels, 3), np.repeat(scores, 3), np.repeat(np.arange(len(labels)), 3)
    )
    np.testing.assert_allclose(three, one, rtol=1e-10)
    blind = auroc_with_error(np.repeat(labels, 3), np.repeat(scores, 3))
    assert blind[1] < 0.65 * one[1]


def test_the_test_rejects_equal_scores_as_often_as_it_says():
    rng = np.random.default_rng(2)
    rejected = 0
    for _ in range(400):
        labels, truth, _ = draw(rng, shift=1.5)
        first, second = (truth + rng.normal(size=len(truth)) for _ in range(2))
        rejected += compare_aurocs(labels, first, second).p_value < 0.05
    assert 6 <= rejected <= 36  # 20 are expected; 99.9 % of a binomial


def test_a_better_score_is_found_and_the_same_score_is_not():
    rng = np.random.default_rng(3)
    labels, good, bad = draw(rng, 200, 200, shift=1.5)
    found = compare_aurocs(labels, good, bad)
    assert found.p_value < 0.01
    assert found.interval[0] > 0
    assert found.difference == pytest.approx(found.aurocs[0] - found.aurocs[1])
    assert compare_aurocs(labels, good, 2 * good).p_value == 1


def test_one_class_has_no_auroc():
    with pytest.raises(ValueError, match="both classes"):
        auroc_with_error([0, 0], [1, 2])


def test_repeated_trainings_are_compared_by_their_mean_aurocs():
    rng = np.random.default_rng(0)
    labels = np.repeat((0, 1), 60)
    first, second = (rng.normal(size=(3, 120)) + shift * labels for shift in (1.5, 0.5))
    found = compare_aurocs(labels, first, second)
    expected = [np.mean([auroc_with_error(labels, s)[0] for s in runs]) for runs in (first, second)]
    assert found.aurocs == pytest.approx(expected)
    assert found.p_value < 1e-4
    # The same training three times is one training.
    once, thrice = (compare_aurocs(labels, first[:1].repeat(n, 0), second[:1]) for n in (1, 3))
    assert thrice.p_value == pytest.approx(once.p_value)


def test_one_patient_in_a_class_leaves_the_p_value_unknown():
    found = compare_aurocs([0, 0, 0, 1, 1], range(5), [4, 0, 2, 1, 3], list("abcdd"))
    assert np.isnan(found.p_value)


def test_holm_agrees_with_its_definition():
    """The k-th smallest times the comparisons left, never below an earlier one, at most 1."""
    p = np.array([0.04, np.nan, 0.001, 0.03, 0.6])
    # 2 x 0.04 would be below the 3 x 0.03 of a smaller p-value.
    expected = [3 * 0.03, np.nan, 4 * 0.001, 3 * 0.03, 0.6]
    np.testing.assert_allclose(holm(p), expected)
    np.testing.assert_allclose(holm([0.9, 0.8]), [1, 1])
    assert holm([]).shape == (0,)


def test_holm_keeps_the_rate_of_any_false_alarm():
    """Ten comparisons without a difference, dependent ones: at most 5 % of tables have one."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 10)) * 0.7 + rng.normal(size=(4000, 1)) * 0.7
    p = 2 * norm.sf(np.abs(z / np.sqrt(0.98)))
    alarms = np.mean([holm(row).min() <= 0.05 for row in p])
    assert alarms <= 0.055 < np.mean(p.min(axis=1) <= 0.05)
