"""Scores, maps and twins of a batch of images, and how many images make a batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

PIXELS_AT_ONCE = 2**22
"""Pixels of a batch on an accelerator."""

PIXELS_IN_CACHE = 2**17
"""Pixels of a batch on a CPU: so many as fit its cache, see docs/performance.md."""


def batch_size_for(device: str, size: int) -> int:
    """Best number of images of ``size`` pixels a side in a batch on a kind of device."""
    return max(1, (PIXELS_IN_CACHE if device == "cpu" else PIXELS_AT_ONCE) // size**2)


def in_batches(images: np.ndarray, batch_size: int) -> Iterator[np.ndarray]:
    """Split images (N, C, H, W) into batches of at most ``batch_size``."""
    return (images[start : start + batch_size] for start in range(0, len(images), batch_size))


@dataclass(frozen=True, slots=True)
class Detection:
    """Scores, maps and twins of a batch of n images, float32.

    x: (n, C, H, W) in [-1, 1]; scores: (n,), higher is less healthy.
    twin: (n, C, H, W) in [-1, 1], anomaly_map: (n, H, W), 0 or more, mask: (n, H, W) in [0, 1];
    None where the method makes none.
    """

    x: np.ndarray
    scores: np.ndarray
    twin: np.ndarray | None
    anomaly_map: np.ndarray | None
    mask: np.ndarray | None = None
