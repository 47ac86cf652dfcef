"""Measures of maps against knowing only the usual places of lesions.

A map that is bright in the middle of every chest has a high AUROC of pixels. Here are a measure
that such a map cannot raise, and the yardstick: the best guess without looking at the image.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage
from scipy.stats import norm, rankdata

GRID = 64
"""Most places a side at which `PositionMatching` compares images."""

_SMOOTHING = 1 / 32  # of the side: the standard deviation of the blur of a guess


@dataclass(frozen=True, slots=True)
class PositionMatched:
    """An AUROC in [0, 1] and its 95 % interval, None with fewer than two patients."""

    auroc: float
    interval: tuple[float, float] | None


class PositionMatching:
    """AUROC of the map's values at the same place of different images, averaged over places.

    It is the chance that the map is higher in an image whose lesion covers the place than in one
    whose lesion is elsewhere; ties count half, and places count by the number of lesions that cover
    them. A map that depends on the place alone gets 0.5. A flat map that is higher for larger
    lesions gets more, but has 0.5 in `localisation.MapMeasures.within_image_auroc`: read the
    two together. Images of more than 64 pixels a side are compared on a grid of at most 64 x 64
    cells, by the mean of the map, with lesion where it covers at least half of the cell.

    The interval is normal, with the standard error of the infinitesimal jackknife over patients.
    For an AUROC at one place this is DeLong's (Obuchowski, Biometrics 1997, for several images of a
    patient).

    Each image with a lesion takes 20 kB of memory, or less where images are smaller than the grid.
    """

    def __init__(self) -> None:
        self._values: list[NDArray[Any]] = []
        self._lesions: list[NDArray[np.bool_]] = []
        self._patients: list[Any] = []

    @classmethod
    def of(cls, maps: NDArray[Any], masks: NDArray[Any], patients: ArrayLike) -> Self:
        """Compare maps (N, H, W) at places that masks (N, H, W) cover; patients: (N,)."""
        matching = cls()
        for values, mask, patient in zip(maps, masks, np.asarray(patients), strict=True):
            matching.add(values, mask, patient)
        return matching

    def add(self, values: NDArray[Any], mask: ArrayLike, patient: Any) -> None:
        """Add one image.

        Args:
            values: (H, W) floats, its map, higher is more abnormal.
            mask: (H, W), True where there is lesion; an image without any does not count.
            patient: any value that tells patients apart.
        """
        mask = np.asarray(mask)
        if values.ndim != 2 or values.shape != mask.shape:
            raise ValueError(
                f"map and mask must share one (H, W) shape; got {values.shape} and {mask.shape}"
            )
        if mask.any():
            self._values.append(_on_grid(values))
            self._lesions.append(_on_grid(mask) >= 0.5)
            self._patients.append(patient)

    def result(self, at_least: int = 4) -> PositionMatched | None:
        """The AUROC; None where no place counts.

        at_least: 1 or more; places covered in fewer images, or not covered in fewer, do not count.
        """
        if not self._values:
            return None
        won = 0.0  # pairs of images, as a share of those at their place, by the places' weights
        covered = 0
        # How much each image adds to `won` and to `covered` per weight.
        of_won, of_covered = np.zeros((2, len(self._values)))
        for row in range(len(self._values[0])):  # a row at a time, to bound memory
            inside = np.stack([lesion[row] for lesion in self._lesions])
            n_inside = inside.sum(axis=0)
            counts = (n_inside >= at_least) & (len(inside) - n_inside >= at_least)
            if not counts.any():
                continue
            inside, n_inside = inside[:, counts], n_inside[counts]
            values = np.stack([image[row, counts] for image in self._values])
            shares = _shares_won(values, inside)
            aurocs = np.mean(shares, axis=0, where=inside)
            won += float(n_inside @ aurocs)
            covered += int(n_inside.sum())
            odds = n_inside / (len(inside) - n_inside)
            of_won += np.where(inside, shares, odds * (shares - aurocs)).sum(axis=1)
            of_covered += inside.sum(axis=1)
        if not covered:
            return None
        auroc = won / covered
        names, person = np.unique(np.asarray(self._patients), return_inverse=True)
        if len(names) < 2:
            return PositionMatched(auroc, None)
        influence = np.bincount(person, of_won - auroc * of_covered) / covered
        error = np.sqrt(len(names) / (len(names) - 1) * np.sum(influence**2))
        margin = norm.ppf(0.975) * error
        interval = max(0.0, auroc - margin), min(1.0, auroc + margin)
        return PositionMatched(auroc, (float(interval[0]), float(interval[1])))


def position_alone(masks: Sequence[ArrayLike], patients: ArrayLike) -> Iterator[NDArray[Any]]:
    """The best guess of each image's lesion without looking at the image.

    It is the share of other patients' images with a lesion that have it at each place, blurred
    slightly (a Gaussian of 1/32 of the side), because few lesions make a rough map; flat without
    any. `PositionMatching` is not for these guesses, which differ between images only in who
    is left out: by definition it is 0.5 for position alone.

    Args:
        masks: N of (H, W), True where there is lesion; each is asked for a few times.
        patients: (N,), any values that tell patients apart.

    Yields:
        (H, W) float32 in [0, 1], for each image in turn.
    """
    person = np.unique(np.asarray(patients), return_inverse=True)[1]
    sick: dict[int, list[int]] = {}  # images with a lesion, by patient
    covering: Any = 0.0
    for image, (mask, who) in enumerate(zip(masks, person.tolist(), strict=True)):
        lesion = np.asarray(mask).astype(bool, copy=False)
        covering = covering + lesion
        if lesion.any():
            sick.setdefault(who, []).append(image)
    count = sum(map(len, sick.values()))

    @lru_cache(maxsize=32)
    def guess(who: int | None) -> NDArray[Any]:
        """Share of lesions over each pixel, without those of one patient; None: with all."""
        own = [] if who is None else sick[who]
        of_others = covering - sum(np.asarray(masks[k]).astype(bool, copy=False) for k in own)
        blur = [_SMOOTHING * side for side in of_others.shape]
        shares = of_others / max(count - len(own), 1)
        smooth: NDArray[Any] = ndimage.gaussian_filter(shares, blur).astype(np.float32)
        return smooth

    for who in person.tolist():
        yield guess(who if who in sick else None)


def position_warning(metrics: Mapping[str, Any]) -> str | None:
    """A sentence where a map points at lesions no better than `position_alone`; None otherwise.

    That is so where its AUROC within images is not above that of position alone, or the lower end
    of its position-matched AUROC (without interval, the value) is not above 0.5.

    metrics: of one run, as `a2bgan.detection.evaluate.evaluate` measures them.
    """
    reasons = []
    own, guessed = (
        measures.get("within_image_auroc")
        for measures in (metrics, metrics.get("position_alone") or {})
    )
    if own is not None and guessed is not None and own <= guessed:
        reasons.append(
            f"AUROC of pixels within an image {own:.3f}, of position alone {guessed:.3f}"
        )
    matched, interval = (
        metrics.get(name) for name in ("position_matched_auroc", "position_matched_auroc_ci")
    )
    if matched is not None and (matched if interval is None else interval[0]) <= 0.5:
        known = "" if interval is None else f" ({interval[0]:.3f} to {interval[1]:.3f})"
        reasons.append(
            f"AUROC between images at the same place {matched:.3f}{known}, by chance 0.5"
        )
    if not reasons:
        return None
    return "the map does not point at lesions better than a guess of the usual place: " + "; ".join(
        reasons
    )


def _shares_won(values: NDArray[Any], inside: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Share of the images of the other kind that each image is on the right side of; ties half.

    values, inside: (N, P); both kinds are at each of the P places.
    """
    ranks = rankdata(values, axis=0)
    # Those of the other kind come last, and so do not change the ranks among their own.
    own = np.where(
        inside,
        rankdata(np.where(inside, values, np.inf), axis=0),
        rankdata(np.where(inside, np.inf, values), axis=0),
    )
    n_inside = inside.sum(axis=0)
    below = ranks - own  # images of the other kind
    won: NDArray[np.float64] = np.where(
        inside, below / (len(inside) - n_inside), 1 - below / n_inside
    )
    return won


def _on_grid(image: NDArray[Any]) -> NDArray[Any]:
    """An image (H, W) as means of the cells of at most GRID x GRID.

    Cells are equal and of whole pixels; the last ones hold the rest.
    """
    sides = [-(-side // GRID) for side in image.shape]  # of a cell, rounded up
    if sides == [1, 1]:
        return image.copy()  # not a part of a batch, all of which it would keep in memory
    rows, columns = (
        np.arange(0, whole, side) for whole, side in zip(image.shape, sides, strict=True)
    )
    area = np.outer(np.diff(rows, append=image.shape[0]), np.diff(columns, append=image.shape[1]))
    sums = np.add.reduceat(image.astype(np.float64), rows, axis=0)
    means: NDArray[Any] = (np.add.reduceat(sums, columns, axis=1) / area).astype(np.float32)
    return means
