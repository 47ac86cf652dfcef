"""Image-level detection metrics: how well scores separate abnormal from normal images.

Labels are (N,), 1 abnormal and 0 normal; scores are (N,), higher is more abnormal. All metrics are
None where the labels hold one class only.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def auroc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the ROC curve, in [0, 1]: the chance that an abnormal image scores above a normal
    one; ties count half."""
    labels, scores = _arrays(labels, scores)
    from sklearn.metrics import roc_auc_score  # takes a while

    return float(roc_auc_score(labels, scores)) if _both_classes(labels) else None


def auprc(labels: ArrayLike, scores: ArrayLike) -> float | None:
    """Area under the precision-recall curve, in (0, 1], as average precision (no interpolation);
    chance level is the share of abnormal images."""
    labels, scores = _arrays(labels, scores)
    from sklearn.metrics import average_precision_score  # takes a while

    return float(average_precision_score(labels, scores)) if _both_classes(labels) else None


def sensitivity_at_specificity(
    labels: ArrayLike, scores: ArrayLike, specificity: float = 0.95
) -> float | None:
    """Highest sensitivity, in [0, 1], at a threshold with at least the given specificity in (0, 1].

    An image is called abnormal when its score is above the threshold, which is a score: nothing is
    interpolated, and images tied with it are not called.
    """
    labels, scores = _arrays(labels, scores)
    if not _both_classes(labels):
        return None
    normal = np.sort(scores[labels == 0])[::-1]
    # The small term undoes rounding: (1 - 0.9) * 10 is just below 1 in floating point.
    false_alarms = math.floor((1 - specificity) * len(normal) + 1e-9)
    threshold = normal[false_alarms]
    return float(np.mean(scores[labels == 1] > threshold))


def _arrays(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.asarray(labels), np.asarray(scores)


def _both_classes(labels: NDArray[Any]) -> bool:
    return bool((labels == 1).any() and (labels == 0).any())
