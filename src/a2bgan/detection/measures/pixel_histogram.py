"""Pixels of any number of maps, counted by their value: curves over all thresholds in one pass."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2bgan.detection.measures.regions import label_regions

_DROPPED_BITS = 8
_BINS = 1 << (32 - _DROPPED_BITS)


class PixelHistogram:
    """Numbers of lesion pixels and of others at each value of maps that come one by one.

    Values are kept to 16 binary digits: those closer than a relative difference of 1/65536 to
    1/32768 count as equal. The memory does not grow with the number of maps.
    """

    def __init__(self) -> None:
        # Memory of bins that stay empty is never used: the system gives it at the first writing.
        self._lesion = np.zeros(_BINS, dtype=np.int64)
        self._other = np.zeros(_BINS, dtype=np.int64)
        # Each pixel of a lesion counts as the share of the lesion that it is.
        self._share = np.zeros(_BINS, dtype=np.float64)
        self._lesions = 0

    def add(self, values: NDArray[Any], mask: NDArray[np.bool_]) -> None:
        """Count the pixels of one map (H, W), higher is more abnormal, and its mask (H, W)."""
        places = _bins_of(values)
        np.add.at(self._other, places[~mask], 1)
        if not mask.any():
            return
        regions, count = label_regions(mask[np.newaxis])
        region = regions[0][mask]
        lesion = places[mask]
        np.add.at(self._lesion, lesion, 1)
        np.add.at(self._share, lesion, 1 / np.bincount(region)[region])
        self._lesions += count

    def auroc(self) -> float | None:
        """AUROC, in [0, 1]; ties count half. None where all pixels are of one kind."""
        if not self._both_kinds():
            return None
        found, false, _ = self._above()
        return float(np.trapezoid(found / found[-1], false / false[-1]))

    def average_precision(self) -> float | None:
        """Average precision, in (0, 1]; by chance the share of lesion pixels. None where all pixels
        are of one kind."""
        if not self._both_kinds():
            return None
        found, false, _ = self._above()
        precision = found[1:] / (found[1:] + false[1:])
        return float(np.sum(np.diff(found) * precision) / found[-1])

    def aupro(self, limit: float) -> float | None:
        """Area under the per-region overlap curve up to a false positive rate, divided by it."""
        if not self._both_kinds():
            return None
        _, false, overlap = self._above()
        rate = false / false[-1]
        inside = rate <= limit
        rates = np.append(rate[inside], limit)
        overlaps = np.append(overlap[inside], np.interp(limit, rate, overlap))
        return float(np.trapezoid(overlaps, rates) / limit)

    def _both_kinds(self) -> bool:
        return bool(self._lesion.any() and self._other.any())

    def _above(self) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Lesion pixels, other pixels and mean share of a lesion above each threshold, from the
        highest on. The first are 0, for a threshold above every pixel."""
        used = np.flatnonzero((self._lesion > 0) | (self._other > 0))[::-1]
        counts = (self._lesion[used], self._other[used], self._share[used] / self._lesions)
        found, false, overlap = (
            np.append(0, np.cumsum(count, dtype=np.float64)) for count in counts
        )
        return found, false, overlap


def _bins_of(values: NDArray[Any]) -> NDArray[np.int32]:
    """A number for each value, greater for a greater value: the first bits of its float32.

    Read as integers, floats of one sign come in the order of their values, negative ones reversed.
    """
    # Adding zero makes -0, which is equal to 0, the same bits.
    bits = (values.astype(np.float32) + np.float32(0)).view(np.int32)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    bins: NDArray[np.int32] = (ordered >> _DROPPED_BITS) + _BINS // 2
    return bins
