"""Turn one image file into an array, or say in a few words why it cannot be done."""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from a2bgan.data.pixels_at_once import ALL_THREADS
from a2bgan.data.slice_names import SliceName, parse_slice

# Below this side there is nothing to look at: such files are icons, thumbnails or mistakes.
SMALLEST_SIDE = 8

# Of the largest value in a mask: less is no lesion but the rounding of a volume's scaled values.
# All labels of 16 bits are more.
ROUNDING = 1e-5

PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Where a PNG's header says how many bits and channels there are.
DEEP_PNG_HEADER = 26

# Compressions of TIFF that change values.
LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")


class ImageError(Exception):
    """One image cannot be used. The text is the reason in a few words, without the path."""


class PassingImageError(ImageError):
    """One image cannot be used now, for a reason outside it: the disk, memory, a decoder that is
    not installed. Another time it may be."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader has to know.

    max_pixels: larger images are refused before they are decoded.
    window: `data.window`; with "auto" and "voi" a DICOM file's own window is looked up.
    frames: which frame of a DICOM file with several is the image.
    percents: percentiles of a volume that its slices show as black and white.
    """

    max_pixels: int
    window: str = "percentile"
    frames: Literal["refuse", "first", "middle"] = "refuse"
    percents: tuple[float, float] = (0.5, 99.5)


ENHANCED_KINDS = (
    b"1.2.840.10008.5.1.4.1.1.2.1", b"1.2.840.10008.5.1.4.1.1.2.2",  # CT, converted CT
    b"1.2.840.10008.5.1.4.1.1.4.1", b"1.2.840.10008.5.1.4.1.1.4.4",  # MR, converted MR
    b"1.2.840.10008.5.1.4.1.1.130", b"1.2.840.10008.5.1.4.1.1.128.1",  # PET, converted PET
)  # fmt: skip
"""SOP classes of files whose frames are the slices of a volume."""

ENHANCED_HEADER = 512
"""Bytes in which a DICOM file has named its SOP class."""


class Picture(NamedTuple):
    """An image as stored, (H, W) or (H, W, 3), and the two values that its file wants shown as
    black and white; None where the file says nothing or was not asked."""

    values: np.ndarray
    window: tuple[float, float] | None = None


class LossyPicture(Picture):
    """A picture whose values its compression has changed, or may have."""


def read_image(path: Path, max_pixels: int) -> np.ndarray:
    """The values of `read_picture`."""
    return read_picture(path, Reading(max_pixels)).values


def read_picture(path: Path, reading: Reading) -> Picture:
    """Read the image at `path` as stored, upright, without scaling its values.

    Returns (H, W) for grey and (H, W, 3) for colour: uint8, uint16, or float32 for float, signed
    and 32-bit files. Transparency is composited on black, 1-bit images become 0 and 255, palettes
    become colours, TIFFs whose 0 is white are turned over (those in floats within their own range),
    and the EXIF orientation is applied.
    DICOM: see `a2bgan.data.dicom`; slices of volumes, which `a2bgan.data.slice_names` names:
    `a2bgan.data.volumes`.

    Raises only ImageError: missing, empty, truncated or damaged file, another format, constant
    image, NaN or infinite values, several frames, a side below 8 pixels, more than `max_pixels`.
    """
    picture = _decode(path, reading)
    image = picture.values
    if image.dtype == np.float32 and not np.isfinite(image).all():
        raise ImageError("NaN or infinite values")
    if all(channel.min() == channel.max() for channel in _channels(image)):
        raise ImageError("constant image")
    return picture


def read_mask(path: Path, max_pixels: int, like: tuple[int, int] | None = None) -> np.ndarray:
    """Read a lesion mask as bool (H, W); a mask of zeros is a valid empty mask.

    like: height and width of its image, where they are known; a mask of another size is refused.

    A pixel is lesion when it is not zero, so masks that number several lesions or tissues read
    right; after lossy compression (JPEG), which leaves few zeros, when it is above half of the
    mask's largest value. Of a colour mask the brightest channel counts. Raises only ImageError.
    """
    picture = _decode(path, Reading(max_pixels), as_mask=True)
    mask = picture.values
    brightest = mask.max(axis=-1) if mask.ndim == 3 else mask
    if not np.isfinite(brightest).all():
        raise ImageError("NaN or infinite values")
    if like is not None and brightest.shape != tuple(like):
        height, width = brightest.shape
        raise ImageError(f"{width} x {height} where the image has {like[1]} x {like[0]}")
    size = np.abs(brightest)
    lesion: np.ndarray = size > mask_threshold(size.max(), isinstance(picture, LossyPicture))
    return lesion


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
    """What stopped a decoder, as the reason why its image cannot be used."""
    if isinstance(error, ImageError):
        return error
    if isinstance(error, MemoryError):
        return PassingImageError("not enough memory to decode it")
    # The system gives its errors a number, decoders do not; a damaged file makes them seek to
    # places that do not exist, which the system calls an invalid argument.
    if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
        return PassingImageError(f"cannot be read ({error.strerror or 'input/output error'})")
    # Damaged files make decoders raise nearly anything (struct.error, SyntaxError, KeyError,
    # zlib.error ...), and one bad file must not end a run over thousands.
    text = str(error).lower()
    cut = isinstance(error, EOFError) or "truncated" in text or "end of file" in text
    return ImageError("truncated file" if cut else "damaged file")


def image_suffix(path: Path) -> str:
    """The key of READERS for this path: its lowercase suffix, ".nii.gz" taken as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def is_hidden(name: str) -> bool:
    """Whether a file or folder is passed over where a folder is searched: macOS writes a `._a.png`
    beside each `a.png` on disks of other systems."""
    return name.startswith(".")


def is_image(path: Path) -> bool:
    """Whether a file in a folder is taken for an image. A DICOMDIR is not: it lists images; nor is
    a hidden file."""
    if path.name.upper() == "DICOMDIR" or is_hidden(path.name):
        return False
    return image_suffix(path) in READERS or is_dicom(path)


def is_volume(path: Path) -> bool:
    """Whether a path is taken for a volume: a NIfTI file by its suffix, a folder, or an enhanced
    DICOM file by its content."""
    suffix = image_suffix(path)
    if READERS.get(suffix) is _refuse_volume:
        return True
    # Unlike Path.is_dir, this is false for a path that is too long or forbidden.
    if suffix not in READERS and os.path.isdir(path):
        return True
    return READERS.get(suffix, _read_dicom) is _read_dicom and is_enhanced(path)


def is_enhanced(path: Path) -> bool:
    """Whether a file is DICOM of a kind that holds all slices of a volume, by its first bytes."""
    try:
        with open_image_file(path) as file:
            start = file.read(ENHANCED_HEADER)
    except (ImageError, OSError):
        return False
    # All have an odd length, which a zero makes even.
    return start[128:132] == b"DICM" and any(uid + b"\0" in start for uid in ENHANCED_KINDS)


def dicom_of(path: Path) -> Path:
    """The DICOM file that speaks for a path: of a folder, which is a series, the first in it."""
    if image_suffix(path) in READERS or not os.path.isdir(path):
        return path
    try:
        return next(_dicom_files(path), path)
    except OSError:
        return path


def series_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, which is a series, by name. Raises OSError."""
    return list(_dicom_files(folder))


def _dicom_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if not is_hidden(file.name) and os.path.isfile(file) and is_dicom(file):
            yield file


def is_dicom(path: Path) -> bool:
    """Whether a file is read as DICOM: by its suffix or, without a known one, by its beginning."""
    suffix = image_suffix(path)
    if suffix in READERS:
        return READERS[suffix] is _read_dicom
    try:
        with open_image_file(path) as file:
            start = file.read(132)
            return start[128:] == b"DICM" or _is_old_dicom(start)
    except (ImageError, OSError):
        return False


def _is_old_dicom(start: bytes) -> bool:
    """Whether a file begins like DICOM from before the preamble: with the length of group 0002 or
    0008, or the group's first elements."""
    lengths = (b"\2\0\0\0UL\4\0", b"\x08\0\0\0UL\4\0", b"\x08\0\0\0\4\0\0\0")
    first = (b"\x08\0\x05\0CS", b"\x08\0\x08\0CS", b"\x08\0\x16\0UI")
    return len(start) == 132 and start.startswith(lengths + first)


def find_reader(path: Path) -> "Reader":
    """The reader for this path's suffix, or DICOM's by the content, because archives name files
    anyhow; ImageError when there is none."""
    if parse_slice(path) is not None:
        return _read_slice
    suffix = image_suffix(path)
    if suffix in READERS:
        return READERS[suffix]
    if is_dicom(path):
        return _read_dicom
    if os.path.isdir(path):
        return _refuse_volume
    with open_image_file(path):
        pass  # what cannot be opened is of no format
    # A name such as 1.2.840.113 has a "suffix" that may be part of a patient's number.
    shown = suffix if suffix[1:].isalpha() and len(suffix) <= 10 else "no known suffix"
    raise ImageError(f"unknown format ({shown}); use PNG, JPEG, TIFF, DICOM or NIfTI")


def _decode(path: Path, reading: Reading, *, as_mask: bool = False) -> Picture:
    reader = find_reader(path)
    if as_mask and reader is _read_slice:
        reader = _read_mask_slice
    try:
        with ALL_THREADS.one_image():
            return reader(path, reading)
    except Exception as error:
        raise as_image_error(error) from None


def _read_with_pillow(path: Path, reading: Reading) -> Picture:
    max_pixels = reading.max_pixels
    # From an open file, not a path: Pillow would map the file into memory, and a file that shrinks
    # under a map kills the process.
    with open_image_file(path) as file:
        start = file.peek(DEEP_PNG_HEADER)
        if start[:4] in TIFF_STARTS:
            from a2bgan.data.tiff import read_tiff

            if (picture := read_tiff(file, max_pixels)) is not None:
                return picture
        try:
            opened = Image.open(file, formats=PILLOW_FORMATS)
        except UnidentifiedImageError:
            raise ImageError(f"not a {', '.join(PILLOW_FORMATS)} image, or damaged") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageError(f"too large (more than {max_pixels:,} pixels)") from None
        with opened as image:
            _check_header(image, max_pixels)
            if image.format == "PNG" and start[24:25] == b"\x10" and start[25:26] != b"\0":
                return Picture(_deep_png(file))
            if image.format in ("JPEG", "MPO"):
                return LossyPicture(_whole_jpeg(file))
            image.load()
            values = _to_array(ImageOps.exif_transpose(image))
            return LossyPicture(values) if _is_lossy(image) else Picture(values)


def _whole_jpeg(file: BufferedReader) -> np.ndarray:
    """A JPEG's values; one that lacks nothing but its end marker is read."""
    from a2bgan.data.jpeg_stream import decode_whole

    def decode(stream: bytes) -> np.ndarray:
        with Image.open(BytesIO(stream), formats=("JPEG",)) as image:
            return _to_array(ImageOps.exif_transpose(image))

    file.seek(0)
    return decode_whole(file.read(), decode)


def _deep_png(file: BufferedReader) -> np.ndarray:
    """Colour or transparency of 16 bits a channel, which Pillow reduces to 8."""
    import imagecodecs

    file.seek(0)
    values: np.ndarray = imagecodecs.png_decode(file.read())
    if values.shape[2] in (2, 4):
        seen = values[..., :-1].astype(np.uint32) * values[..., -1:] // np.iinfo(np.uint16).max
        values = seen.astype(np.uint16)
    return np.ascontiguousarray(values[..., 0] if values.shape[2] == 1 else values)


def _is_lossy(image: Image.Image) -> bool:
    lossless = image.format in ("PNG", "TIFF", "BMP", "GIF")
    return not lossless or image.info.get("compression") in LOSSY_TIFF


def _check_header(image: Image.Image, max_pixels: int) -> None:
    """Refuse by the header alone, before memory is spent on the pixels."""
    width, height = image.size
    if width * height > max_pixels:
        raise ImageError(f"too large ({width} x {height}; more than {max_pixels:,} pixels)")
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"too small ({width} x {height} pixels)")
    ALL_THREADS.claim(width * height)
    # A JPEG with several pictures (MPO) carries previews of the first one, so that one is read.
    if image.format not in ("JPEG", "MPO") and _has_second_frame(image):
        raise ImageError("multi-frame file; split it")


def _has_second_frame(image: Image.Image) -> bool:
    """Not by their number, for which all of 100,000 pages would be looked up."""
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return False
    return True


def _to_array(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode == "I":  # grey PNG of 16 bits, in older versions of Pillow
        return np.asarray(image).astype(np.uint16)
    if image.has_transparency_data:
        return _composite_on_black(image)
    if image.mode == "1":
        image = image.convert("L")
    elif image.mode not in ("L", "RGB"):
        try:
            image = image.convert("RGB")
        except ValueError:
            raise ImageError(f"unsupported colour mode ({image.mode})") from None
    return np.array(image)


def _composite_on_black(image: Image.Image) -> np.ndarray:
    grey = image.mode in ("L", "LA", "La")
    if image.mode == "La":
        image = image.convert("LA")
    black = Image.new("RGBA", image.size, (0, 0, 0, 255))
    colour = np.array(Image.alpha_composite(black, image.convert("RGBA")).convert("RGB"))
    return np.ascontiguousarray(colour[..., 0]) if grey else colour


def _channels(image: np.ndarray) -> list[Any]:
    return [image] if image.ndim == 2 else [image[..., k] for k in range(image.shape[2])]


def _read_dicom(path: Path, reading: Reading) -> Picture:
    from a2bgan.data.dicom import read_dicom  # pydicom takes a while, and few need it

    return read_dicom(path, reading)


def _read_slice(path: Path, reading: Reading) -> Picture:
    from a2bgan.data.volumes import read_slice  # nibabel takes a while, and few need it

    volume, axis, index = _slice_of(path)
    return read_slice(Path(volume), axis, index, reading)


def _read_mask_slice(path: Path, reading: Reading) -> Picture:
    from a2bgan.data.volumes import read_mask_slice

    volume, axis, index = _slice_of(path)
    return Picture(read_mask_slice(Path(volume), axis, index))


def _slice_of(path: Path) -> SliceName:
    name = parse_slice(path)
    assert name is not None
    return name


def _refuse_volume(path: Path, reading: Reading) -> Picture:
    """Why there are no slices of a volume."""
    from a2bgan.data.volumes import read_volume

    read_volume(path)
    raise ImageError("no slice left by data.slices and data.skip_empty, or a mask on another grid")


Reader = Callable[[Path, Reading], Picture]

# One reader for each lowercase suffix.
READERS: dict[str, Reader] = {
    ".png": _read_with_pillow,
    ".jpg": _read_with_pillow,
    ".jpeg": _read_with_pillow,
    ".jfif": _read_with_pillow,
    ".tif": _read_with_pillow,
    ".tiff": _read_with_pillow,
    ".bmp": _read_with_pillow,
    ".gif": _read_with_pillow,
    ".webp": _read_with_pillow,
    ".jp2": _read_with_pillow,
    ".dcm": _read_dicom,
    ".nii": _refuse_volume,
    ".nii.gz": _refuse_volume,
}
