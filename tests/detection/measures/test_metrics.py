from collections.abc import Callable

import numpy as np
import pytest

from a2bgan.detection.measures.metrics import auprc, auroc, sensitivity_at_specificity


def naive_auroc(labels: np.ndarray, scores: np.ndarray) -> float:
    abnormal, normal = scores[labels == 1], scores[labels == 0]
    won = sum((a > n) + 0.5 * (a == n) for a in abnormal for n in normal)
    return float(won / (len(abnormal) * len(normal)))


def naive_auprc(labels: np.ndarray, scores: np.ndarray) -> float:
    area, recall = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        called = scores >= threshold
        found = (labels[called] == 1).sum()
        area += (found / (labels == 1).sum() - recall) * found / called.sum()
        recall = found / (labels == 1).sum()
    return area


def naive_sensitivity(labels: np.ndarray, scores: np.ndarray, specificity: float) -> float:
    best = 0.0
    for threshold in scores:
        called = scores > threshold
        kept = np.mean(~called[labels == 0])
        if kept >= specificity - 1e-12:
            best = max(best, float(np.mean(called[labels == 1])))
    return best


@pytest.mark.parametrize("ties", [False, True])
def test_against_naive_loops(ties: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        labels = np.r_[0, 1, rng.integers(0, 2, 50)]
        scores = labels + 1.5 * rng.standard_normal(52)
        scores = scores.round() if ties else scores
        assert auroc(labels, scores) == pytest.approx(naive_auroc(labels, scores))
        assert auprc(labels, scores) == pytest.approx(naive_auprc(labels, scores))
        for specificity in (0.5, 0.8, 0.9, 0.95, 1.0):
            assert sensitivity_at_specificity(labels, scores, specificity) == pytest.approx(
                naive_sensitivity(labels, scores, specificity)
            )


def test_exactly_the_allowed_false_alarms_are_used() -> None:
    # 10 normal images allow one false alarm at 0.9, though (1 - 0.9) * 10 rounds to below 1.
    labels = np.array([0] * 10 + [1, 1])
    scores = np.array([*range(10), 8.5, 7.5])
    assert sensitivity_at_specificity(labels, scores, 0.9) == 0.5
    assert sensitivity_at_specificity(labels, scores, 0.8) == 1.0
    assert sensitivity_at_specificity(labels, scores, 1.0) == 0.0


def test_abnormal_images_tied_with_the_threshold_are_not_called() -> None:
    labels = np.array([0, 0, 0, 0, 1, 1])
    scores = np.array([1, 2, 3, 3, 3, 4])
    assert sensitivity_at_specificity(labels, scores, 0.75) == 0.5


@pytest.mark.parametrize("metric", [auroc, auprc, sensitivity_at_specificity])
@pytest.mark.parametrize("labels", [[0, 0, 0], [1, 1, 1]])
def test_one_class_has_no_value(metric: Callable[..., float | None], labels: list[int]) -> None:
    assert metric(labels, [0.1, 0.2, 0.3]) is None


@pytest.mark.parametrize("metric", [auroc, auprc, sensitivity_at_specificity])
def test_no_images_have_no_value(metric: Callable[..., float | None]) -> None:
    assert metric([], []) is None
