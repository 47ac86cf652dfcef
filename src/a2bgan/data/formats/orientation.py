"""Turn images upright as their files say, by the numbers of EXIF and TIFF."""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ExifTags, Image

_TURNS: dict[Any, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda v: np.rot90(v, 2),
    4: np.flipud,
    5: lambda v: v.swapaxes(0, 1),
    6: lambda v: np.rot90(v, -1),
    7: lambda v: np.rot90(v, 2).swapaxes(0, 1),
    8: np.rot90,
}
"""Turn that brings an image upright, by orientation; 1, and what has no meaning, is upright."""


def upright(values: np.ndarray, orientation: Any) -> np.ndarray:
    """Turn an image (H, W) or (H, W, 3) of an orientation upright."""
    turn = _TURNS.get(orientation)
    return values if turn is None else np.ascontiguousarray(turn(values))


def exif_orientation(image: Image.Image) -> Any:
    """The orientation that EXIF, or XMP in its place, gives an image; 1 where they say nothing."""
    return image.getexif().get(ExifTags.Base.Orientation, 1)
