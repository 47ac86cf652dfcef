"""TIFF files whose depth Pillow does not keep: signed, float, of 32 bits, or deep colour."""

from io import BufferedReader

import numpy as np
import tifffile

from a2bgan.data.formats.orientation import upright
from a2bgan.data.formats.picture import ImageError, Picture, check_size

ZERO_IS_WHITE = 0


def read_tiff(file: BufferedReader, max_pixels: int) -> Picture | None:
    """Read a TIFF as uint16, or float32 for all that 16 bits do not hold; None where Pillow reads
    all there is: 8 bits or fewer, and grey of 16.

    Transparency is composited on black. An image whose 0 is white is inverted, floats within
    their own range. Raises ImageError.
    """
    try:
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            samples = page.samplesperpixel
            plain = page.dtype is not None and page.dtype.kind in "bu" and not tiff.is_bigtiff
            deep_grey = samples == 1 and page.photometric != ZERO_IS_WHITE
            if plain and page.bitspersample <= (16 if deep_grey else 8):
                return None
            if _has_second_page(tiff):
                raise ImageError("multi-frame file; split it")
            _check(page, max_pixels)
            values = page.asarray()
    except (ImageError, MemoryError):
        raise
    except Exception:  # a damaged file raises anything
        raise ImageError("damaged file, or a TIFF layout that is not supported") from None
    finally:
        file.seek(0)
    if values.ndim == 3 and page.planarconfig == 2:  # one plane a channel
        values = values.transpose(1, 2, 0)
    top = 1.0
    if values.dtype.kind in "iu" and values.min() >= 0 and values.max() <= np.iinfo(np.uint16).max:
        values, top = values.astype(np.uint16), float(np.iinfo(np.uint16).max)
    else:
        values = values.astype(np.float32)
    if samples in (2, 4):
        opacity = values[..., -1:].astype(np.float64) / top
        values = (values[..., :-1] * opacity).astype(values.dtype)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if page.photometric == ZERO_IS_WHITE:
        values = _inverted(values)
    return Picture(upright(values, int(page.tags.valueof("Orientation", 1))))


def _has_second_page(tiff: tifffile.TiffFile) -> bool:
    """Look for a second page; counting them would look up all of 100,000."""
    try:
        tiff.pages[1]
    except IndexError:
        return False
    return True


def _check(page: tifffile.TiffPage, max_pixels: int) -> None:
    """Refuse by the header alone, before memory is spent on the pixels."""
    check_size(page.imagewidth, page.imagelength, max_pixels)
    if page.imagedepth != 1:
        raise ImageError(f"multi-frame file ({page.imagedepth} slices); split it")
    if page.samplesperpixel > 4:
        raise ImageError(f"{page.samplesperpixel} channels; use grey or RGB")
    if page.dtype is None or page.dtype.kind not in "iuf":
        raise ImageError("a TIFF layout that is not supported (neither integers nor floats)")


def _inverted(values: np.ndarray) -> np.ndarray:
    """White as black: within 16 bits, or within the image's own range for floats."""
    if values.dtype == np.uint16:
        return np.iinfo(np.uint16).max - values
    # In double precision: the sum can leave the range of single.
    turned = (float(values.min()) + float(values.max())) - values.astype(np.float64)
    return turned.astype(np.float32)
