"""Sample grids: what a method makes of a few training images, to watch while it trains."""

from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.data.batches import to_grey_levels, to_unit_range
from a2bgan.training.methods.method import Method

COUNT = 8
"""Images of each set in a grid."""


def write_samples(path: Path, method: Method, healthy: np.ndarray, mixed: np.ndarray) -> None:
    """PNG of two blocks side by side, mixed (left) and healthy: input, twin and anomaly map.

    ``healthy`` and ``mixed`` are (N, C, H, W) uint8 or uint16; the first of each are shown.
    Columns that the method does not make are left out.
    """
    columns = []
    for images in (mixed[:COUNT], healthy[:COUNT]):
        x = to_unit_range(images).to(method.device)
        finding = method.find(x)
        parts = [x]
        if finding.twin is not None:
            parts.append(finding.twin)
        if finding.anomaly_map is not None:
            level = (finding.anomaly_map / method.map_scale).clamp(0, 1)
            parts.append((2 * level - 1)[:, None].expand_as(x))
        columns += [_column(to_grey_levels(part)) for part in parts]
    height = max(len(column) for column in columns)
    padded = [np.pad(c, ((0, height - len(c)), (0, 0), (0, 0))) for c in columns]
    Image.fromarray(np.concatenate(padded, axis=1).squeeze()).save(path)


def _column(images: np.ndarray) -> np.ndarray:
    """(N, C, H, W) to (N H, W, C)."""
    n, c, h, w = images.shape
    return images.transpose(0, 2, 3, 1).reshape(n * h, w, c)
