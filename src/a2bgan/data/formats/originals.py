"""Images at their own size and in their own format: read with transparency, written back."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from a2bgan.data.formats.kinds import image_suffix
from a2bgan.data.formats.picture import Picture, ReadOptions
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.reading import read_picture

KEPT_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff")


@dataclass(frozen=True, slots=True)
class Original:
    """An image as its file has it, upright.

    picture: what networks are shown of it, transparency on black. colours: (H, W) or (H, W, 3), of
    the same type, as stored, without transparency. alpha: (H, W) uint8, or None.
    """

    picture: Picture
    colours: np.ndarray
    alpha: np.ndarray | None


def read_original(path: Path, options: ReadOptions) -> Original:
    """Read an image with its transparency; of 16 bits it stays on black. Raises ImageError only."""
    with ALL_THREADS.one_image():
        return _read_original(path, options)


def _read_original(path: Path, options: ReadOptions) -> Original:
    picture = read_picture(path, options)  # which has checked the file
    if image_suffix(path) in KEPT_SUFFIXES and picture.values.dtype == np.uint8:
        with Image.open(path) as image:
            if image.has_transparency_data:
                rgba = np.array(ImageOps.exif_transpose(image).convert("RGBA"))
                grey = picture.values.ndim == 2
                return Original(picture, rgba[..., 0] if grey else rgba[..., :3], rgba[..., 3])
    return Original(picture, picture.values, None)


def write_original(stem: Path, source: Path, colours: np.ndarray, alpha: np.ndarray | None) -> Path:
    """Write an image like the file `source` to `stem` and the right suffix; returns the path.

    PNG, JPEG and TIFF stay what they are (palettes become colours); others become PNG. Floats are
    always TIFF, colours of 16 bits are written with 8. Nothing but pixels is written. Raises
    OSError.
    """
    suffix = image_suffix(source)
    suffix = suffix if suffix in KEPT_SUFFIXES else ".png"
    if colours.dtype == np.float32:
        suffix = suffix if suffix in (".tif", ".tiff") else ".tif"
    if colours.ndim == 3 and colours.dtype == np.uint16:
        colours = (colours >> 8).astype(np.uint8)
    if alpha is not None:
        colours = np.dstack([colours, alpha])
        suffix = ".png" if suffix in (".jpg", ".jpeg") else suffix
    target = stem.with_name(stem.name + suffix)
    # Formats pass over options that are not theirs.
    Image.fromarray(colours).save(target, quality=95, subsampling=0)
    return target
