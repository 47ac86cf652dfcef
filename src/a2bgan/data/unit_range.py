"""Between preprocessed images, floats in [-1, 1] as networks see them, and shares in [0, 1]."""

import numpy as np


def in_unit_range(images: np.ndarray) -> np.ndarray:
    """uint8 or uint16 images of any shape to float32 in [-1, 1]."""
    half = np.float32(np.iinfo(images.dtype).max / 2)
    values = images.astype(np.float32)
    values /= half
    values -= np.float32(1)
    return values


def to_intensities(x: np.ndarray) -> np.ndarray:
    """Float images in [-1, 1] to shares of the intensity range, in [0, 1]."""
    intensities: np.ndarray = (x + 1) / 2
    return intensities
