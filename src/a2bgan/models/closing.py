"""Grey-scale closing of maps: narrow gaps are filled, nothing grows."""

import torch
from torch import Tensor
from torch.nn import functional


def close_gaps(maps: Tensor, reach: int) -> Tensor:
    """Maps (N, H, W) closed (Serra 1982) with a square of ``2 reach + 1`` pixels a side.

    The highest value within ``reach`` of a pixel, and of these the lowest within ``reach``: a
    place that the square cannot reach without meeting higher ones all around takes their value;
    all others stay as they are. Beyond the borders there is nothing.
    """
    return -_highest(-_highest(maps, reach), reach)


def _highest(maps: Tensor, reach: int) -> Tensor:
    """Of the square around each pixel."""
    # Beyond the border its own pixels again, which no maximum minds.
    found = functional.pad(maps[:, None], (reach, reach, reach, reach), mode="replicate")[:, 0]
    for axis in (1, 2):
        # Of so many pixels in a row already: twice as many at each step, in few passes.
        known, width = 1, 2 * reach + 1
        while known < width:
            step = min(known, width - known)
            length = found.shape[axis] - step
            found = torch.maximum(found.narrow(axis, 0, length), found.narrow(axis, step, length))
            known += step
    return found
