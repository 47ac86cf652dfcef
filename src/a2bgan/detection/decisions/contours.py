"""Contours around what does not look healthy: regions of an anomaly map above a threshold.

The threshold is calibrated on the highest map values of held-out healthy patients
(`calibration`). A region needs a pixel above it, so an image has a region exactly
when its highest value is above the threshold, however far regions grow from there.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2bgan.detection.measures.regions import label_regions

GROW = 0.5
"""Share of the threshold down to which a region grows, because the map fades towards the edge of a
lesion and only its middle is above the threshold."""

Place = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Resamples values on the grid of a map (S, S) to another grid."""


@dataclass(frozen=True, slots=True)
class Region:
    """A connected part of an image that does not look healthy.

    box: (x0, y0, x1, y1) in pixels; x1 and y1 are the first outside.
    area: in pixels; share: the same as a share of the image.
    centroid: (x, y) in pixels, 0 in the middle of the first.
    peak: highest value of the map in it.
    """

    box: tuple[int, int, int, int]
    area: int
    share: float
    centroid: tuple[float, float]
    peak: float


def find_regions(
    anomaly_map: NDArray[Any], threshold: float, grow: float = GROW
) -> NDArray[np.bool_]:
    """Pixels of a map (H, W) that belong to a region, bool (H, W).

    A region is a set of pixels above ``grow * threshold`` that are connected by their sides, one of
    which is above ``threshold`` (hysteresis; Canny 1986).

    grow: from 0 to 1, which leaves the pixels above the threshold alone.
    """
    # In double precision: the threshold is a map value that must not be above itself.
    values = np.asarray(anomaly_map, dtype=np.float64)
    if not (values > threshold).any():
        return np.zeros(values.shape, dtype=bool)
    from skimage.filters import apply_hysteresis_threshold  # takes a while

    found: NDArray[np.bool_] = apply_hysteresis_threshold(values, grow * threshold, threshold)
    return found


def regions(
    mask: NDArray[np.bool_], anomaly_map: NDArray[Any], place: Place = np.asarray
) -> list[Region]:
    """List the regions of a mask (S, S) from `find_regions`, the highest peak first.

    Regions that touch by a corner are one.

    place: brings values to the grid that regions are described on, such as the original image's.
        Regions outside it, in the border that made the image square, are left out.
    """
    if not mask.any():
        return []
    from skimage.measure import regionprops  # takes a while

    found = []
    for part in _parts(mask):
        placed = _placed(part, place)
        if not placed.any():
            continue
        (shape,) = regionprops(placed.astype(np.uint8))
        top, left, bottom, right = (int(edge) for edge in shape.bbox)
        y, x = (float(centre) for centre in shape.centroid)
        peak = float(anomaly_map[part].max())
        area = int(shape.area)
        found.append(Region((left, top, right, bottom), area, area / placed.size, (x, y), peak))
    return sorted(found, key=lambda region: -region.peak)


def place_mask(mask: NDArray[np.bool_], place: Place) -> NDArray[np.bool_]:
    """Resample a mask (S, S) to another grid, with the regions that `regions` describes there."""
    placed: NDArray[np.bool_] = place(np.zeros(mask.shape, dtype=np.float32)) > 0
    for part in _parts(mask):
        placed |= _placed(part, place)
    return placed


def _parts(mask: NDArray[np.bool_]) -> Iterator[NDArray[np.bool_]]:
    """Each region of a mask as a mask of its own."""
    numbers, count = label_regions(mask[np.newaxis])
    for number in range(1, count + 1):
        yield numbers[0] == number


def _placed(part: NDArray[np.bool_], place: Place) -> NDArray[np.bool_]:
    """One region on another grid: the pixels that it covers at least half as much as any.

    A small region on a coarser grid covers no pixel by half of its area.
    """
    cover = place(part.astype(np.float32))
    placed: NDArray[np.bool_] = (cover > 0) & (cover >= cover.max() / 2)
    return placed
