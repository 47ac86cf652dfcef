"""Resizing with Lanczos's filter and antialiasing, several times as fast as Pillow's.

The weights are Pillow's, and of floats the results too. Of 8 bits Pillow rounds and cuts off what
it has after the first direction; here sums stay exact until the end. Results differ by one level
here and there, and by up to some ten in a pixel in a thousand beside burnt-in letters.
"""

from collections.abc import Callable
from functools import lru_cache

import numpy as np
from scipy import sparse

LOBES = 3

_COLUMNS_AT_ONCE = 256
"""So many columns of an X-ray fit the cache of a core."""


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
    of_rows = _weights(height, shape[0])
    narrow = np.empty((shape[0], rows.shape[1]), dtype=np.float32)
    for start in range(0, rows.shape[1], _COLUMNS_AT_ONCE):
        part = rows[:, start : start + _COLUMNS_AT_ONCE]
        part = part if prepare is None else prepare(part)
        narrow[:, start : start + _COLUMNS_AT_ONCE] = of_rows @ part.astype(np.float32, copy=False)
    across = narrow.reshape(shape[0], width, -1).swapaxes(0, 1).reshape(width, -1)
    small = (_weights(width, shape[1]) @ across).reshape(shape[1], shape[0], -1).swapaxes(0, 1)
    return np.ascontiguousarray(small if values.ndim == 3 else small[..., 0])


@lru_cache(maxsize=256)
def _weights(before: int, after: int) -> sparse.csr_matrix:
    """(after, before): how much of each pixel is in each pixel of the result."""
    scale = before / after
    stretch = max(scale, 1.0)  # of the filter, where pixels become fewer
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - LOBES * stretch + 0.5).astype(int), 0)
    last = np.minimum((centres + LOBES * stretch + 0.5).astype(int), before)
    pixels = first[:, np.newaxis] + np.arange((last - first).max())
    place = (pixels - centres[:, np.newaxis] + 0.5) / stretch
    weights = np.sinc(place) * np.sinc(place / LOBES)
    weights[(np.abs(place) >= LOBES) | (pixels >= last[:, np.newaxis])] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    used = weights != 0
    rows = np.broadcast_to(np.arange(after)[:, np.newaxis], pixels.shape)
    return sparse.csr_matrix(
        (weights[used].astype(np.float32), (rows[used], pixels[used])), (after, before)
    )
