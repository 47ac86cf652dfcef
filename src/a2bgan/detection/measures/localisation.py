"""Pixel-level metrics: does the map point at the lesion, and is the healthy twin the right one.

Everywhere, maps are (N, H, W) floats, higher is more abnormal, and masks are (N, H, W), True where
there is lesion. A ``ranking`` is that of the same maps, where it is already known.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from a2bgan.detection.measures.regions import label_regions


@dataclass(frozen=True, slots=True)
class PixelRanking:
    """All pixels of maps from the highest to the lowest; sorting takes a while.

    order: (N H W,) their places; ends: where in it the last pixel of each value stands.
    """

    order: NDArray[np.int64]
    ends: NDArray[np.int64]

    @classmethod
    def of(cls, maps: NDArray[Any]) -> Self:
        """Sort the pixels, once for several measures."""
        values = maps.ravel()
        order = np.argsort(-values)
        ordered = values[order]
        ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)
        return cls(order, ends)

    def above(self, weight: NDArray[Any]) -> NDArray[np.float64]:
        """Sums of pixel weights (N H W,) above each distinct threshold, from the highest on.

        The first is 0, for a threshold above every pixel. Equal values enter together.
        """
        sums: NDArray[np.float64] = np.cumsum(weight[self.order], dtype=np.float64)[self.ends]
        return np.append(0, sums)


def pixel_auroc(
    maps: NDArray[Any], masks: NDArray[Any], ranking: PixelRanking | None = None
) -> float | None:
    """AUROC, in [0, 1], of the pixels of all images together; ties count half.

    Images without lesion take part too. None where all pixels are of one kind.
    """
    if not _both_kinds(maps, masks):
        return None
    found, false = _counts(maps, masks, ranking)
    return float(np.trapezoid(found / found[-1], false / false[-1]))


def pixel_ap(
    maps: NDArray[Any], masks: NDArray[Any], ranking: PixelRanking | None = None
) -> float | None:
    """Average precision, in (0, 1], of the pixels of all images together.

    Chance level is the share of lesion pixels. None where all pixels are of one kind.
    """
    if not _both_kinds(maps, masks):
        return None
    found, false = _counts(maps, masks, ranking)
    precision = found[1:] / (found[1:] + false[1:])
    return float(np.sum(np.diff(found) * precision) / found[-1])


def aupro(
    maps: NDArray[Any],
    masks: NDArray[Any],
    fpr_limit: float = 0.3,
    ranking: PixelRanking | None = None,
) -> float | None:
    """Area under the per-region overlap curve (Bergmann et al., "MVTec AD", IJCV 2021).

    Per-region overlap is the share of a lesion's pixels above the threshold, averaged over lesions,
    so that a small lesion counts as much as a large one. It is integrated over the false positive
    rate (the share of all pixels outside lesions above the threshold) from 0 to ``fpr_limit``, in
    (0, 1], and divided by it. Lesions are the 8-connected components of each mask.

    Returns a value in [0, 1], ``fpr_limit`` / 2 for a random map; None where all pixels are of one
    kind.
    """
    if not _both_kinds(maps, masks):
        return None
    regions, count = label_regions(masks)
    region = regions.ravel()
    share = 1 / (count * np.bincount(region).astype(np.float64))
    share[0] = 0  # label 0 is everything outside the lesions
    ranking = ranking or PixelRanking.of(maps)
    overlap, false = ranking.above(share[region]), ranking.above(region == 0)
    rate = false / false[-1]
    inside = rate <= fpr_limit
    rates = np.append(rate[inside], fpr_limit)
    overlaps = np.append(overlap[inside], np.interp(fpr_limit, rate, overlap))
    return float(np.trapezoid(overlaps, rates) / fpr_limit)


def within_image_auroc(maps: NDArray[Any], masks: NDArray[Any]) -> float | None:
    """AUROC of the pixels of one image, averaged over the images with both kinds of pixels.

    Unlike `pixel_auroc`, it does not rise where images are brighter as a whole. A map that knows
    the usual place of lesions still does well: compare it with `position`.

    Returns a value in [0, 1], 0.5 for a flat map; None where no image counts.
    """
    _require_one_shape(maps, masks)
    found = []
    for values, lesion in zip(maps, masks.astype(bool, copy=False), strict=True):
        if not lesion.any() or lesion.all():
            continue
        inside, outside = values[lesion], np.sort(values[~lesion])
        below = np.searchsorted(outside, inside, "left").sum(dtype=np.int64)
        not_above = np.searchsorted(outside, inside, "right").sum(dtype=np.int64)
        found.append((below + not_above) / (2 * inside.size * outside.size))
    return float(np.mean(found)) if found else None


def hit_rate(maps: NDArray[Any], masks: NDArray[Any]) -> float | None:
    """Share of the images with a lesion whose highest pixel lies inside it.

    This is the pointing game (Zhang et al., "Top-down neural attention by excitation backprop",
    IJCV 2018), without its tolerance. Of several highest pixels the share inside counts, so that a
    flat map gets the share of the image that is lesion. None where no image has a lesion.
    """
    _require_one_shape(maps, masks)
    found = [
        np.mean(lesion[values == values.max()])
        for values, lesion in zip(maps, masks.astype(bool, copy=False), strict=True)
        if lesion.any()
    ]
    return float(np.mean(found)) if found else None


def psnr(a: NDArray[Any], b: NDArray[Any], where: NDArray[Any]) -> float | None:
    """Peak signal-to-noise ratio in dB, ``-10 log10(mean (a - b)^2)``, over chosen pixels.

    Args:
        a: (N, C, H, W) in [0, 1].
        b: of the same shape and range.
        where: (N, H, W), True for the pixels that count; all of them are pooled into one mean.

    Returns:
        Decibels, higher is closer and infinity is equal; None where no pixel is chosen.
    """
    if not where.any():
        return None
    chosen = np.broadcast_to(where[:, None].astype(bool), a.shape)
    error = np.mean(np.square(a[chosen] - b[chosen], dtype=np.float64))
    return float(-10 * np.log10(error)) if error > 0 else float("inf")


def twin_error(
    images: NDArray[Any], twins_true: NDArray[Any], translated: NDArray[Any], masks: NDArray[Any]
) -> dict[str, float | None]:
    """Compare the healthy twins with the true ones, which are known for phantoms only.

    Args:
        images: the inputs, (N, C, H, W) in [0, 1].
        twins_true: the exact healthy twins, of the same shape and range; for a healthy image the
            image itself.
        translated: the method's healthy twins, of the same shape and range.
        masks: (N, H, W), True where there is lesion; a healthy image has none.

    Returns:
        Values that are None where there is no pixel to compute them from: the PSNR in dB of the
        translation inside the lesions (``psnr_inside``), of the untouched input there
        (``psnr_inside_input``), and of the translation elsewhere, in healthy images too
        (``psnr_outside``); the mean absolute change of healthy images, as a share of the intensity
        range (``healthy_change``).
    """
    lesion = masks.astype(bool)
    healthy = ~lesion.any(axis=(1, 2))
    change = np.abs(images[healthy] - translated[healthy])
    return {
        "psnr_inside": psnr(translated, twins_true, lesion),
        "psnr_inside_input": psnr(images, twins_true, lesion),
        "psnr_outside": psnr(translated, twins_true, ~lesion),
        "healthy_change": float(change.mean(dtype=np.float64)) if healthy.any() else None,
    }


def _both_kinds(maps: NDArray[Any], masks: NDArray[Any]) -> bool:
    _require_one_shape(maps, masks)
    return bool(masks.any() and not masks.all())


def _require_one_shape(maps: NDArray[Any], masks: NDArray[Any]) -> None:
    if maps.ndim != 3 or maps.shape != masks.shape:
        raise ValueError(
            f"maps and masks must share one (N, H, W) shape; got {maps.shape} and {masks.shape}"
        )


def _counts(
    maps: NDArray[Any], masks: NDArray[Any], ranking: PixelRanking | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Numbers of lesion pixels, and of others, above each distinct threshold."""
    ranking = ranking or PixelRanking.of(maps)
    lesion = masks.ravel().astype(bool)
    return ranking.above(lesion), ranking.above(~lesion)
