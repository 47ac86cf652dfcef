"""Filters of maps: grey-scale closing and Gaussian smoothing."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

KERNEL_REACH = 4.0
"""The Gaussian is cut off at this many sigmas."""


def close_gaps(maps: Tensor, reach: int) -> Tensor:
    """Maps (N, H, W) closed (Serra 1982) with a square of ``2 reach + 1`` pixels a side.

    The highest value within ``reach`` of a pixel, and of these the lowest within ``reach``: a
    place that the square cannot reach without meeting higher ones all around takes their value;
    all others stay as they are. Beyond the borders there is nothing.
    """
    return -_highest(-_highest(maps, reach), reach)


def _highest(maps: Tensor, reach: int) -> Tensor:
    """Maximum over the square around each pixel."""
    # Beyond the border its own pixels again, which no maximum minds.
    found = functional.pad(maps[:, None], (reach, reach, reach, reach), mode="replicate")[:, 0]
    for axis in (1, 2):
        # Maxima of `known` pixels in a row give those of twice as many: few passes.
        known, width = 1, 2 * reach + 1
        while known < width:
            step = min(known, width - known)
            length = found.shape[axis] - step
            found = torch.maximum(found.narrow(axis, 0, length), found.narrow(axis, step, length))
            known += step
    return found


def gaussian_smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, H, W) smoothed with a Gaussian of ``sigma`` pixels; the same shape.

    Borders are mirrored, so that what lies at the edge counts like anything else. As products with
    matrices: a convolution of one channel is slow on CPUs.
    """
    height, width = maps.shape[-2:]
    rows, columns = (torch.from_numpy(smoothing_matrix(n, sigma)).to(maps) for n in (height, width))
    with torch.autocast(maps.device.type, enabled=False):  # a map keeps its digits
        return rows @ maps @ columns.mT


@lru_cache(maxsize=16)
def smoothing_matrix(length: int, sigma: float) -> NDArray[np.float64]:
    """(length, length): what smoothing makes of a line of pixels."""
    # As scipy.ndimage.gaussian_filter1d, whose import takes longer than all smoothing of an image.
    reach = int(KERNEL_REACH * sigma + 0.5)
    offsets = np.arange(-reach, reach + 1)
    weights = np.exp(-0.5 * (offsets / sigma) ** 2)
    seen = np.abs(np.arange(length)[:, np.newaxis] + offsets) % max(1, 2 * length - 2)
    mirrored = np.minimum(seen, 2 * length - 2 - seen)
    matrix = np.zeros((length, length))
    np.add.at(matrix, (np.arange(length)[:, np.newaxis], mirrored), weights / weights.sum())
    return matrix
