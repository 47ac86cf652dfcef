"""A picture as its file stores it, options for reading one, and the error when it fails."""

import errno
import os
import stat
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from a2bgan.data.formats.pixels_at_once import ALL_THREADS

SMALLEST_SIDE = 8
"""Files with a shorter side are icons, thumbnails or mistakes."""

ROUNDING = 1e-5
"""Share of a mask's largest value below which a pixel is no lesion but the rounding of a volume's
scaled values. All labels of 16 bits are more."""


class ImageError(Exception):
    """One image cannot be used. The text is the reason in a few words, without the path."""


class PassingImageError(ImageError):
    """One image cannot be used now, for a reason outside it: the disk, memory, a missing decoder.
    A later attempt may succeed."""


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """Options for reading an image.

    max_pixels: larger images are refused before they are decoded.
    window: `data.window`; with "auto" and "voi" a DICOM file's own window is looked up.
    frames: which frame of a DICOM file with several is the image.
    percents: percentiles of a volume that its slices show as black and white.
    """

    max_pixels: int
    window: str = "percentile"
    frames: Literal["refuse", "first", "middle"] = "refuse"
    percents: tuple[float, float] = (0.5, 99.5)


class Picture(NamedTuple):
    """An image as stored.

    values: (H, W) or (H, W, 3). window: the two values that its file wants shown as black and
    white; None where the file says nothing or was not asked. lossy: whether its compression has
    changed the values, or may have.
    """

    values: np.ndarray
    window: tuple[float, float] | None = None
    lossy: bool = False


def check_size(width: int, height: int, max_pixels: int) -> None:
    """ImageError for an image that is too large or too small, by its header alone.

    Waits until other threads leave room for its pixels.
    """
    if width * height > max_pixels:
        raise ImageError(f"too large ({width} x {height}; more than {max_pixels:,} pixels)")
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"too small ({width} x {height} pixels)")
    ALL_THREADS.claim(width * height)


def mask_threshold(largest: float, lossy: bool) -> float:
    """The value above which a pixel of a mask is lesion; `largest`: the mask's largest value."""
    return float(largest) * (0.5 if lossy else ROUNDING)


def open_image_file(path: Path) -> BufferedReader:
    """Open `path` for reading; ImageError when it is missing, empty, unreadable or no file."""
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise ImageError("a folder, not a file")
        # Opening a named pipe would wait for ever.
        if not stat.S_ISREG(status.st_mode):
            raise ImageError("not a regular file")
        if status.st_size == 0:
            raise ImageError("empty file")
        return open(path, "rb")
    except (FileNotFoundError, NotADirectoryError):
        raise PassingImageError("missing file") from None
    except PermissionError:
        raise PassingImageError("no permission to read the file") from None
    except OSError as error:
        raise as_image_error(error) from None
    except ValueError:
        raise ImageError("not a valid file name") from None


def as_image_error(error: Exception) -> ImageError:
    """Convert a decoder's exception to an ImageError."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return PassingImageError("not enough memory to decode it")
    # The system numbers its errors, decoders do not; a damaged file makes them seek to places
    # that do not exist, which the system calls an invalid argument.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return PassingImageError(f"cannot be read ({error.strerror or 'input/output error'})")
    # Damaged files make decoders raise nearly anything (struct.error, SyntaxError, KeyError,
    # zlib.error ...), and one bad file must not end a run over thousands.
    text = str(error).lower()
    cut = isinstance(error, EOFError) or "truncated" in text or "end of file" in text
    return ImageError("truncated file" if cut else "damaged file")
