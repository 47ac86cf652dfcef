"""Images that Pillow opens: PNG, JPEG, TIFF and others."""

from io import BufferedReader, BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from a2bgan.data.formats.jpeg_stream import decode_common, decode_whole
from a2bgan.data.formats.orientation import exif_orientation, upright
from a2bgan.data.formats.picture import (
    ImageError,
    Picture,
    ReadOptions,
    as_image_error,
    check_size,
    open_image_file,
)

PILLOW_FORMATS = ("PNG", "JPEG", "TIFF", "BMP", "GIF", "WEBP", "JPEG2000")

LOSSLESS = ("PNG", "TIFF", "BMP", "GIF")

LOSSY_TIFF = ("jpeg", "tiff_jpeg", "webp")
"""Compressions of TIFF that change values."""

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

PNG_HEADER = 26
"""Bytes at the start of a PNG that say how many bits and channels there are."""

PNG_GREY, PNG_COLOUR = 0, 2

PNG_TEXT = (b"tEXt", b"zTXt", b"iTXt")

PNG_ORIENTATION = (b"Raw profile type", b"XML:com.adobe.xmp")
"""Beginnings of texts that may say how to turn a PNG."""


def read_with_pillow(path: Path, options: ReadOptions) -> Picture:
    """Read an image as `read_picture` says. Raises ImageError, or whatever Pillow raises."""
    max_pixels = options.max_pixels
    # From an open file, not a path: Pillow would map the file into memory, and a file that shrinks
    # under a map kills the process.
    with open_image_file(path) as file:
        start = file.peek(PNG_HEADER)
        if start[:4] in TIFF_STARTS:
            from a2bgan.data.formats.tiff import read_tiff

            if (picture := read_tiff(file, max_pixels)) is not None:
                return picture
        try:
            opened = Image.open(file, formats=PILLOW_FORMATS)
        except UnidentifiedImageError:
            raise ImageError(f"not a {', '.join(PILLOW_FORMATS)} image, or damaged") from None
        except (Image.DecompressionBombError, Image.DecompressionBombWarning):
            raise ImageError(f"too large (more than {max_pixels:,} pixels)") from None
        with opened as image:
            check_size(*image.size, max_pixels)
            # A JPEG with several pictures (MPO) carries previews of the first one, which is read.
            jpeg = image.format in ("JPEG", "MPO")
            if not jpeg and _has_second_frame(image):
                raise ImageError("multi-frame file; split it")
            if image.format == "PNG" and (values := _read_png(file, image, start)) is not None:
                return Picture(values)
            if jpeg:
                return Picture(_read_jpeg(file, image), lossy=True)
            image.load()
            return Picture(_to_array(ImageOps.exif_transpose(image)), lossy=_is_lossy(image))


def array_of(image: Image.Image) -> np.ndarray:
    """The values of an image that is open, as `read_picture` gives those of a file: upright, on
    black. Numbers of 32 bits stay as they are. Raises ImageError."""
    try:
        if image.mode in ("I", "F"):
            return np.array(image)
        return _to_array(ImageOps.exif_transpose(image))
    except Exception as error:  # a cut file is decoded only now
        raise as_image_error(error) from None


def _read_jpeg(file: BufferedReader, image: Image.Image) -> np.ndarray:
    """A JPEG's values; one that lacks nothing but its end marker is read."""

    def decode(stream: bytes) -> np.ndarray:
        with Image.open(BytesIO(stream), formats=("JPEG",)) as image:
            return _to_array(ImageOps.exif_transpose(image))

    file.seek(0)
    stream = file.read()
    values = decode_common(stream)
    if values is None:
        return decode_whole(stream, decode)
    return upright(values, exif_orientation(image))


def _read_png(file: BufferedReader, image: Image.Image, start: bytes) -> np.ndarray | None:
    """Grey, colour or transparency of 16 bits, which Pillow reduces to 8; and grey and colour of 8
    bits, which Pillow decodes more slowly. None for all that Pillow is to read."""
    bits, kind = start[24], start[25]
    deep = bits == 16 and kind != PNG_GREY
    plain = bits in (8, 16) and kind in (PNG_GREY, PNG_COLOUR) and not image.has_transparency_data
    if not deep and not plain:
        return None
    import imagecodecs

    file.seek(0)
    content = file.read()
    may_be_turned = _may_be_turned(content)
    if may_be_turned and not deep:
        file.seek(0)
        return None
    try:
        values: np.ndarray = imagecodecs.png_decode(content)
    except imagecodecs.PngError:
        if deep:
            raise
        file.seek(0)  # Pillow says what is wrong
        return None
    if values.ndim == 3 and values.shape[2] in (2, 4):
        seen = values[..., :-1].astype(np.uint32) * values[..., -1:] // np.iinfo(np.uint16).max
        values = seen.astype(np.uint16)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if may_be_turned:
        values = upright(values, exif_orientation(image))
    return np.ascontiguousarray(values)


def _may_be_turned(png: bytes) -> bool:
    """True where a PNG has a part that may say how to turn it, which Pillow understands."""
    place = 8
    while place + 8 < len(png):
        name, text = png[place + 4 : place + 8], place + 8
        if name == b"eXIf" or (name in PNG_TEXT and png.startswith(PNG_ORIENTATION, text)):
            return True
        place += 12 + int.from_bytes(png[place : place + 4], "big")
    return False


def _is_lossy(image: Image.Image) -> bool:
    return image.format not in LOSSLESS or image.info.get("compression") in LOSSY_TIFF


def _has_second_frame(image: Image.Image) -> bool:
    """Look for a second frame; counting them would look up all of 100,000 pages."""
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return False
    return True


def _to_array(image: Image.Image) -> np.ndarray:
    # "I": grey PNG of 16 bits, in older versions of Pillow
    if image.mode.startswith("I;16") or image.mode == "I":
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
