"""Gaussian smoothing of maps, borders mirrored."""

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d
from torch import Tensor

KERNEL_REACH = 4.0
"""The Gaussian is cut off at this many sigmas."""


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
    unit = np.eye(length)
    smoothed: NDArray[np.float64] = gaussian_filter1d(
        unit, sigma, axis=0, mode="mirror", truncate=KERNEL_REACH
    )
    return smoothed
