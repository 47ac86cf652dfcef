"""Read one image or lesion mask of any format."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from a2bgan import extensions
from a2bgan.data.formats.kinds import Kind, image_suffix, kind_of
from a2bgan.data.formats.picture import (
    ImageError,
    PassingImageError,
    Picture,
    ReadOptions,
    as_image_error,
    mask_threshold,
    open_image_file,
)
from a2bgan.data.formats.pillow import read_with_pillow
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.slice_names import SliceName, parse_slice
from a2bgan.errors import InputError

Reader = Callable[[Path, ReadOptions], Picture]


def read_image(path: Path, max_pixels: int) -> np.ndarray:
    """The values of `read_picture`."""
    return read_picture(path, ReadOptions(max_pixels)).values


def read_picture(path: Path, options: ReadOptions) -> Picture:
    """Read the image at `path` as stored, upright, without scaling its values.

    Returns (H, W) for grey and (H, W, 3) for colour: uint8, uint16, or float32 for float, signed
    and 32-bit files. Transparency is composited on black, 1-bit images become 0 and 255, palettes
    become colours, TIFFs whose 0 is white are inverted (floats within their own range), and the
    EXIF orientation is applied. DICOM: see `a2bgan.data.formats.dicom`; slices of volumes, named as
    in `a2bgan.data.formats.slice_names`: `a2bgan.data.formats.volumes`.

    Raises only ImageError: missing, empty, truncated or damaged file, another format, constant
    image, NaN or infinite values, several frames, a side below 8 pixels, more than `max_pixels`.
    """
    picture = _decode(path, find_reader(path), options)
    image = picture.values
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ImageError("NaN or infinite values")
    channels = [image] if image.ndim == 2 else np.moveaxis(image, -1, 0)
    if all(channel.min() == channel.max() for channel in channels):
        raise ImageError("constant image")
    return picture


def read_mask(path: Path, max_pixels: int, like: tuple[int, int] | None = None) -> np.ndarray:
    """Read a lesion mask as bool (H, W); a mask of zeros is a valid empty mask.

    like: height and width of its image, where they are known; a mask of another size is refused.

    A pixel is lesion when it is not zero, so masks that number several lesions or tissues read
    right; after lossy compression (JPEG), which leaves few zeros, when it is above half of the
    mask's largest value. In a colour mask the brightest channel counts. Raises only ImageError.
    """
    reader = _read_slice_of_mask if parse_slice(path) is not None else find_reader(path)
    picture = _decode(path, reader, ReadOptions(max_pixels))
    mask = picture.values
    brightest = mask.max(axis=-1) if mask.ndim == 3 else mask
    if not np.isfinite(brightest).all():
        raise ImageError("NaN or infinite values")
    if like is not None and brightest.shape != tuple(like):
        height, width = brightest.shape
        raise ImageError(f"{width} x {height} where the image has {like[1]} x {like[0]}")
    size = np.abs(brightest)
    lesion: np.ndarray = size > mask_threshold(size.max(), picture.lossy)
    return lesion


def find_reader(path: Path) -> Reader:
    """The function that reads a path, or ImageError where no format fits."""
    if parse_slice(path) is not None:
        return _read_slice
    if (kind := kind_of(path)) is not None:
        return READERS[kind]
    with open_image_file(path):
        pass  # a file that cannot be opened is of no format
    # A name such as 1.2.840.113 has a "suffix" that may be part of a patient's number.
    suffix = image_suffix(path)
    shown = suffix if suffix[1:].isalpha() and len(suffix) <= 10 else "no known suffix"
    raise ImageError(f"unknown format ({shown}); use PNG, JPEG, TIFF, DICOM or NIfTI")


def _decode(path: Path, reader: Reader, options: ReadOptions) -> Picture:
    try:
        with ALL_THREADS.one_image():
            return reader(path, options)
    except Exception as error:
        raise as_image_error(error) from None


def _read_dicom(path: Path, options: ReadOptions) -> Picture:
    from a2bgan.data.formats.dicom.pixels import (
        read_dicom,  # pydicom takes a while, and few need it
    )

    return read_dicom(path, options)


def _read_slice(path: Path, options: ReadOptions) -> Picture:
    from a2bgan.data.formats.volumes import read_slice  # nibabel takes a while, and few need it

    volume, axis, place = _slice_of(path)
    return read_slice(Path(volume), axis, place, options)


def _read_slice_of_mask(path: Path, options: ReadOptions) -> Picture:
    from a2bgan.data.formats.volumes import read_mask_slice

    volume, axis, place = _slice_of(path)
    return Picture(read_mask_slice(Path(volume), axis, place))


def _slice_of(path: Path) -> SliceName:
    name = parse_slice(path)
    assert name is not None
    return name


def _refuse_volume(path: Path, options: ReadOptions) -> Picture:
    """Say why a volume has no slices."""
    from a2bgan.data.formats.volumes import read_volume

    read_volume(path)
    raise ImageError("no slice left by data.slices and data.skip_empty, or a mask on another grid")


def _read_added(path: Path, options: ReadOptions) -> Picture:
    """Read with another package's reader."""
    name = image_suffix(path)[1:]
    try:
        reader: Reader = extensions.load(extensions.READER_GROUP, name)
    except InputError as error:
        raise PassingImageError(str(error)) from None
    return reader(path, options)


READERS: dict[Kind, Reader] = {
    "picture": read_with_pillow,
    "dicom": _read_dicom,
    "nifti": _refuse_volume,
    "series": _refuse_volume,
    "added": _read_added,
}
"""The function that reads each kind of file."""
