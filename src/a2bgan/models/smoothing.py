"""Gaussian smoothing of maps, borders mirrored."""

import torch
from torch import Tensor
from torch.nn import functional

KERNEL_REACH = 4.0
"""The Gaussian is cut off at this many sigmas."""


def gaussian_smooth(maps: Tensor, sigma: float) -> Tensor:
    """Maps (N, H, W) smoothed with a Gaussian of ``sigma`` pixels; the same shape.

    Borders are mirrored, so that what lies at the edge counts like anything else. Both sides must
    be longer than 4 sigma.
    """
    radius = int(KERNEL_REACH * sigma + 0.5)
    steps = torch.arange(-radius, radius + 1, dtype=maps.dtype, device=maps.device)
    kernel = torch.exp(-0.5 * (steps / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(maps[:, None], (radius,) * 4, mode="reflect")
    with torch.autocast(maps.device.type, enabled=False):  # a map keeps its digits
        rows = functional.conv2d(padded, kernel.view(1, 1, 1, -1))
        return functional.conv2d(rows, kernel.view(1, 1, -1, 1))[:, 0]
