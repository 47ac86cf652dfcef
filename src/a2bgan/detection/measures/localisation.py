"""Pixel-level metrics: does the map point at the lesion, and is the healthy twin the right one.

All take images one by one, in memory that does not grow with their number.
"""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from a2bgan.detection.measures.pixel_histogram import PixelHistogram


class MapMeasures:
    """Measures of maps against the masks of their lesions.

    Each is None where no image allows it.
    """

    def __init__(self) -> None:
        self._pixels = PixelHistogram()
        self._within: list[float] = []
        self._hits: list[float] = []

    @classmethod
    def of(cls, maps: NDArray[Any], masks: NDArray[Any]) -> Self:
        """Measure maps (N, H, W) against masks (N, H, W)."""
        if maps.ndim != 3 or maps.shape != masks.shape:
            raise ValueError(
                f"maps and masks must share one (N, H, W) shape; got {maps.shape} and {masks.shape}"
            )
        measures = cls()
        for values, mask in zip(maps, masks, strict=True):
            measures.add(values, mask)
        return measures

    def add(self, values: NDArray[Any], mask: ArrayLike) -> None:
        """Add one image: its map (H, W), higher is more abnormal, and its mask (H, W), True where
        there is lesion, perhaps nowhere."""
        lesion = np.asarray(mask).astype(bool, copy=False)
        if values.ndim != 2 or values.shape != lesion.shape:
            raise ValueError(
                f"map and mask must share one (H, W) shape; got {values.shape} and {lesion.shape}"
            )
        self._pixels.add(values, lesion)
        if not lesion.any():
            return
        self._hits.append(float(np.mean(lesion[values == values.max()])))
        if not lesion.all():
            self._within.append(_auroc_within(values, lesion))

    def pixel_auroc(self) -> float | None:
        """AUROC, in [0, 1], of the pixels of all images together; ties count half.

        Images without lesion take part too.
        """
        return self._pixels.auroc()

    def pixel_ap(self) -> float | None:
        """Average precision, in (0, 1], of the pixels of all images together.

        Chance level is the share of lesion pixels.
        """
        return self._pixels.average_precision()

    def aupro(self, fpr_limit: float = 0.3) -> float | None:
        """Area under the per-region overlap curve (Bergmann et al., "MVTec AD", IJCV 2021).

        Per-region overlap is the share of a lesion's pixels above the threshold, averaged over
        lesions, so that a small lesion counts as much as a large one. It is integrated over the
        false positive rate (the share of all pixels outside lesions above the threshold) from 0 to
        ``fpr_limit``, in (0, 1], and divided by it. Lesions are the 8-connected components of each
        mask. A value in [0, 1], ``fpr_limit`` / 2 for a random map.
        """
        return self._pixels.aupro(fpr_limit)

    def within_image_auroc(self) -> float | None:
        """AUROC of the pixels of one image, averaged over the images with both kinds of pixels.

        Unlike `pixel_auroc`, it does not rise where images are brighter as a whole. A map that
        knows the usual place of lesions still does well: compare it with `position`. A value in
        [0, 1], 0.5 for a flat map.
        """
        return float(np.mean(self._within)) if self._within else None

    def hit_rate(self) -> float | None:
        """Share of the images with a lesion whose highest pixel lies inside it.

        This is the pointing game (Zhang et al., "Top-down neural attention by excitation backprop",
        IJCV 2018), without its tolerance. Of several highest pixels the share inside counts, so
        that a flat map gets the share of the image that is lesion.
        """
        return float(np.mean(self._hits)) if self._hits else None

    def by_name(self) -> dict[str, float | None]:
        """All of them, by their names here."""
        return {
            "pixel_auroc": self.pixel_auroc(),
            "pixel_ap": self.pixel_ap(),
            "aupro": self.aupro(),
            "within_image_auroc": self.within_image_auroc(),
            "hit_rate": self.hit_rate(),
        }


class TwinErrors:
    """Compare healthy twins with the true ones, which are known for generated images only."""

    def __init__(self) -> None:
        self._squares = dict.fromkeys(("inside", "inside_input", "outside"), 0.0)
        self._counts = dict.fromkeys(self._squares, 0)
        self._change = 0.0
        self._unchanged = 0

    def add(
        self, image: NDArray[Any], truth: NDArray[Any], made: NDArray[Any], mask: ArrayLike
    ) -> None:
        """Add one image (C, H, W) in [0, 1].

        Args:
            image: the input.
            truth: the exact healthy twin, like `image`; of a healthy image the image itself.
            made: the method's healthy twin, like `image`.
            mask: (H, W), True where there is lesion; a healthy image has none.
        """
        lesion = np.asarray(mask).astype(bool, copy=False)
        self._add("inside", made, truth, lesion)
        self._add("inside_input", image, truth, lesion)
        self._add("outside", made, truth, ~lesion)
        if not lesion.any():
            self._change += float(np.abs(image - made).sum(dtype=np.float64))
            self._unchanged += image.size

    def by_name(self) -> dict[str, float | None]:
        """Errors by name, None where there is no pixel to compute them from.

        ``psnr_inside``: PSNR in dB, higher is closer and infinity is equal, of the translation
        inside the lesions of all images together; ``psnr_inside_input``: of the untouched input
        there; ``psnr_outside``: of the translation elsewhere, in healthy images too;
        ``healthy_change``: mean absolute change of healthy images, as a share of the range.
        """
        found: dict[str, float | None] = {
            f"psnr_{where}": _psnr(self._squares[where], self._counts[where])
            for where in self._squares
        }
        found["healthy_change"] = self._change / self._unchanged if self._unchanged else None
        return found

    def _add(self, name: str, a: NDArray[Any], b: NDArray[Any], where: NDArray[np.bool_]) -> None:
        error = a[:, where] - b[:, where]
        self._squares[name] += float(np.square(error, dtype=np.float64).sum())
        self._counts[name] += error.size


def _psnr(squares: float, count: int) -> float | None:
    """Peak signal-to-noise ratio, ``-10 log10(mean square)``, of values in [0, 1]."""
    if not count:
        return None
    return float(-10 * np.log10(squares / count)) if squares > 0 else float("inf")


def _auroc_within(values: NDArray[Any], lesion: NDArray[np.bool_]) -> float:
    inside, outside = values[lesion], np.sort(values[~lesion])
    below = np.searchsorted(outside, inside, "left").sum(dtype=np.int64)
    not_above = np.searchsorted(outside, inside, "right").sum(dtype=np.int64)
    return float((below + not_above) / (2 * inside.size * outside.size))
