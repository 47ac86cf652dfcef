"""Sample grids: what the translator makes of a few training images, to watch while it trains."""

from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.data.batches import to_grey_levels, to_unit_range
from a2bgan.training.methods.method import Method

COUNT = 8
"""Images of each set in a grid."""


def write_samples(path: Path, method: Method, healthy: np.ndarray, mixed: np.ndarray) -> None:
    """PNG of two blocks side by side, mixed (left) and healthy: input, twin and 3 x difference.

    ``healthy`` and ``mixed`` are (N, C, H, W) uint8 or uint16; the first of each are shown.
    """
    columns = []
    for images in (mixed[:COUNT], healthy[:COUNT]):
        device = next(method.networks["translator"].parameters()).device
        x = to_unit_range(images).to(device)
        twin = method.translate(x).healthy
        difference = (3 * (x - twin).abs() - 1).clamp(-1, 1)
        columns += [_column(to_grey_levels(part)) for part in (x, twin, difference)]
    height = max(len(column) for column in columns)
    padded = [np.pad(c, ((0, height - len(c)), (0, 0), (0, 0))) for c in columns]
    Image.fromarray(np.concatenate(padded, axis=1).squeeze()).save(path)


def _column(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to (N H, W, C)."""
    n, c, h, w = images.shape
    return images.transpose(0, 2, 3, 1).reshape(n * h, w, c)
