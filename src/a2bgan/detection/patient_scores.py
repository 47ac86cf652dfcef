"""Patient scores: one number for all images of a patient, mostly slices of volumes."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

TOP_SLICES = 0.1
"""Share of a patient's images that `top-k` averages."""

DEFAULT_PATIENT_SCORE = "max"
"""The patient score of images that are no slices: each was taken for a reason of its own."""


def mean(scores: NDArray[np.float64]) -> float:
    """Mean: disease of the whole organ."""
    return float(scores.mean())


def highest_tenth(scores: NDArray[np.float64]) -> float:
    """Mean of the highest tenth, rounded up to whole images: a lesion spans several slices, noise
    only one."""
    count = math.ceil(TOP_SLICES * len(scores))
    return float(np.sort(scores)[-count:].mean())


def highest(scores: NDArray[np.float64]) -> float:
    """Maximum: a patient is as ill as the worst image."""
    return float(scores.max())


PATIENT_SCORES: dict[str, Callable[[NDArray[np.float64]], float]] = {
    "max": highest,
    "top-k": highest_tenth,
    "mean": mean,
}
"""Patient scores by name; each takes the scores (n,) of one patient's images."""


def by_patient(
    patients: Sequence[str] | NDArray[np.str_],
    scores: NDArray[np.float64],
    rule: str = DEFAULT_PATIENT_SCORE,
) -> dict[str, float]:
    """Score of each patient, in the order they come."""
    images: dict[str, list[int]] = {}
    for k, patient in enumerate(patients):
        images.setdefault(str(patient), []).append(k)
    return {who: PATIENT_SCORES[rule](scores[index]) for who, index in images.items()}


def of_patient(
    patients: Sequence[str], scores: NDArray[np.float64], rule: str = DEFAULT_PATIENT_SCORE
) -> NDArray[np.float64]:
    """Score of each image's patient, (N,); "" is a patient of its own."""
    found = by_patient(patients, scores, rule)
    return np.array(
        [score if not who else found[who] for who, score in zip(patients, scores, strict=True)],
        dtype=np.float64,
    )
