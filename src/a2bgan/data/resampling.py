"""Resizing with Lanczos's filter and antialiasing, several times as fast as Pillow's.

The weights are Pillow's, and of floats the results too. Of 8 bits Pillow rounds and cuts off what
it has after the first direction; here sums stay exact until the end. Results differ by one level
here and there, and by up to some ten in a pixel in a thousand beside burnt-in letters.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np

LOBES = 3

_COLUMNS_AT_ONCE = 256
"""So many columns of an X-ray fit the cache of a core."""

_PIXELS_AT_ONCE = 8
"""Neighbours in the result that are computed as one product.

They share most of the pixels that they are made of. Larger products would be spread over threads,
which cost more than they bring, and wait for each other where images are read side by side.
"""


def resize(
    values: np.ndarray,
    shape: tuple[int, int],
    prepare: Callable[[np.ndarray], np.ndarray] | None = None,
) -> np.ndarray:
    """Resize (H, W) or (H, W, 3) to a height and width, float32; it overshoots at edges.

    prepare: turns a part of the values, all rows of some columns, into what is resized.
    """
    height, width = values.shape[:2]
    if (height, width) == shape:
        same = values if prepare is None else prepare(values)
        return same.astype(np.float32, copy=False)
    # The values of a row one after another: columns times channels.
    rows = values.reshape(height, -1)
    narrow = np.empty((shape[0], rows.shape[1]), dtype=np.float32)
    for start in range(0, rows.shape[1], _COLUMNS_AT_ONCE):
        part = rows[:, start : start + _COLUMNS_AT_ONCE]
        part = part if prepare is None else prepare(part)
        part = part.astype(np.float32, copy=False)
        for made, used, weights in _weights(height, shape[0]):
            narrow[made, start : start + _COLUMNS_AT_ONCE] = weights @ part[used]
    across = narrow.reshape(shape[0], width, -1)
    small = np.empty((*shape, across.shape[2]), dtype=np.float32)
    for made, used, weights in _weights(width, shape[1]):
        for channel in range(across.shape[2]):
            small[:, made, channel] = across[:, used, channel] @ weights.T
    return small if values.ndim == 3 else small[..., 0]


class _Weights(NamedTuple):
    """How much of each pixel in `used` is in each pixel in `made` (made, used)."""

    made: slice
    used: slice
    weights: np.ndarray


@lru_cache(maxsize=256)
def _weights(before: int, after: int) -> tuple[_Weights, ...]:
    """The weights of all pixels of the result, some neighbours at a time."""
    scale = before / after
    stretch = max(scale, 1.0)  # of the filter, where pixels become fewer
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - LOBES * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + LOBES * stretch + 0.5).astype(int), before)
    parts = []
    for start in range(0, after, _PIXELS_AT_ONCE):
        made = slice(start, min(start + _PIXELS_AT_ONCE, after))
        used = slice(first[made][0], last[made][-1])
        pixels = np.arange(used.start, used.stop)
        place = (pixels - centres[made, np.newaxis] + 0.5) / stretch
        weights = np.sinc(place) * np.sinc(place / LOBES)
        outside = (pixels < first[made, np.newaxis]) | (pixels >= last[made, np.newaxis])
        weights[(np.abs(place) >= LOBES) | outside] = 0
        weights /= weights.sum(axis=1, keepdims=True)
        parts.append(_Weights(made, used, weights.astype(np.float32)))
    return tuple(parts)
