"""A reader of a few lines: `.gray8` files, two bytes of width, two of height, then the pixels."""

from pathlib import Path

import numpy as np

from a2bgan.data.formats.picture import (
    ImageError,
    Picture,
    ReadOptions,
    check_size,
    open_image_file,
)


def read(path: Path, options: ReadOptions) -> Picture:
    """Read a file. Raises ImageError; a2bgan turns any other exception into one."""
    with open_image_file(path) as file:
        width, height = np.frombuffer(file.read(4), "<u2").tolist()
        check_size(width, height, options.max_pixels)
        pixels = np.frombuffer(file.read(width * height), np.uint8)
    if pixels.size != width * height:
        raise ImageError("truncated file")
    return Picture(pixels.reshape(height, width))
