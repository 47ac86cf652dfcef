"""Standard error of an AUROC, and whether AUROCs on the same images differ.

DeLong's method (DeLong, DeLong and Clarke-Pearson 1988), in the form of Obuchowski (1997) for
several images of a patient; with one image for each patient the two are the same.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two AUROCs on the same images.

    difference: first minus second, with its 95 % interval; p_value: two-sided, that they are
    equal; 1 where all images get the same places from both, NaN with fewer than two patients in a
    class.
    """

    aurocs: tuple[float, float]
    difference: float
    interval: tuple[float, float]
    p_value: float


def auroc_with_error(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None
) -> tuple[float, float]:
    """AUROC and its standard error; see `auroc_covariance`."""
    aurocs, covariance = auroc_covariance(labels, np.asarray(scores)[None], patients)
    return float(aurocs[0]), float(np.sqrt(max(covariance[0, 0], 0)))


def compare_aurocs(
    labels: ArrayLike, first: ArrayLike, second: ArrayLike, patients: ArrayLike | None = None
) -> Comparison:
    """Test whether two scores of the same images separate the classes equally well.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        first, second: (N,), higher is more abnormal. Or (S, N), of repeated trainings: their mean
            AUROCs are then compared.
        patients: (N,), any values that tell patients apart; None: each image is its own.

    Raises:
        ValueError: there is one class only.
    """
    from scipy.stats import norm  # takes a while

    ones, others = np.atleast_2d(first), np.atleast_2d(second)
    aurocs, covariance = auroc_covariance(labels, np.concatenate([ones, others]), patients)
    one, other = aurocs[: len(ones)].mean(), aurocs[len(ones) :].mean()
    contrast = np.repeat((1 / len(ones), -1 / len(others)), (len(ones), len(others)))
    difference = float(one - other)
    error = float(np.sqrt(max(contrast @ covariance @ contrast, 0)))
    reach = float(norm.ppf(0.975)) * error
    p_value = 1.0 if difference == 0 else 0.0
    if error != 0:  # NaN included, where it is not known
        p_value = float(2 * norm.sf(abs(difference) / error))
    return Comparison(
        (float(one), float(other)), difference, (difference - reach, difference + reach), p_value
    )


def holm(p_values: ArrayLike) -> NDArray[Any]:
    """p-values corrected for the number of comparisons (Holm 1979).

    Args:
        p_values: (K,) in [0, 1]; NaN is no comparison and stays NaN.

    Returns:
        (K,) in [0, 1]. The chance that the value of any true null hypothesis is at or below
        alpha is at most alpha, however the comparisons depend on each other.
    """
    raw = np.asarray(p_values, dtype=np.float64)
    corrected = np.full(raw.shape, np.nan)
    order = np.argsort(raw)[: int(np.isfinite(raw).sum())]  # NaN comes last
    stepped = raw[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(stepped), 1)
    return corrected


def auroc_covariance(
    labels: ArrayLike, scores: ArrayLike, patients: ArrayLike | None = None
) -> tuple[NDArray[Any], NDArray[Any]]:
    """AUROCs of several scores of the same images, and the covariance of their errors.

    Args:
        labels: (N,), 1 abnormal, 0 normal.
        scores: (K, N), higher is more abnormal; ties count half.
        patients: (N,), any values that tell patients apart; None: each image is its own.

    Returns:
        (K,) in [0, 1] and (K, K). With fewer than two patients in a class the covariance is NaN.

    Raises:
        ValueError: there is one class only.
    """
    from scipy.stats import rankdata  # takes a while

    abnormal = np.asarray(labels) == 1
    m, n = int(abnormal.sum()), int((~abnormal).sum())
    if not m or not n:
        raise ValueError("an AUROC needs images of both classes")
    scores = np.atleast_2d(np.asarray(scores, dtype=np.float64))
    patients = np.arange(m + n) if patients is None else np.asarray(patients)
    number = np.unique(patients, return_inverse=True)[1]

    # An image's place: the share of the other class that it is on the right side of.
    ranks = rankdata(scores, axis=1)
    places = np.empty_like(scores)
    places[:, abnormal] = (ranks[:, abnormal] - rankdata(scores[:, abnormal], axis=1)) / n
    places[:, ~abnormal] = 1 - (ranks[:, ~abnormal] - rankdata(scores[:, ~abnormal], axis=1)) / m
    aurocs = places[:, abnormal].mean(axis=1)

    patient_count = int(number.max()) + 1
    deviations = places - aurocs[:, None]
    sums = np.zeros((2, len(scores), patient_count))
    for k, members in enumerate((abnormal, ~abnormal)):
        for row, deviation in zip(sums[k], deviations, strict=True):
            row += np.bincount(number[members], deviation[members], patient_count)
    with_abnormal, with_normal = (
        len(np.unique(number[members])) for members in (abnormal, ~abnormal)
    )
    if with_abnormal < 2 or with_normal < 2:
        return aurocs, np.full((len(scores), len(scores)), np.nan)
    cross = sums[0] @ sums[1].T
    covariance = (
        with_abnormal / (with_abnormal - 1) * (sums[0] @ sums[0].T) / m**2
        + with_normal / (with_normal - 1) * (sums[1] @ sums[1].T) / n**2
        + patient_count / (patient_count - 1) * (cross + cross.T) / (m * n)
    )
    return aurocs, covariance
