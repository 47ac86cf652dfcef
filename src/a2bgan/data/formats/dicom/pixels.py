"""DICOM files as images: pixels as a viewer shows them.

Standard: DICOM PS3.3 (C.7.6.3 pixels, C.11.1 modality LUT, C.11.2 VOI LUT) and PS3.5 (encodings).
"""

import io
import math
import os
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.uid import HTJ2K, JPEG2000, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from a2bgan.data.formats.dicom.decoding import decode_stored, require, require_decoder
from a2bgan.data.formats.dicom.header import parse_dicom
from a2bgan.data.formats.dicom.quiet import quiet_pydicom
from a2bgan.data.formats.picture import (
    ImageError,
    Picture,
    ReadOptions,
    check_size,
    open_image_file,
)

LARGEST_FILE = 2 * 1024**3

# Compressions that change values, or may.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)

# Elements with the value of padding, or both ends of its range; for integers and for floats.
PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    (
        "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit",
        "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit",
    ),
)  # fmt: skip

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Text that stands for a number, however wrongly.
NUMBER_LIKE = re.compile(r"[-+]?[\d.,eE+-]{1,16}|[-+]?(nan|inf(inity)?)", re.IGNORECASE)

SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@quiet_pydicom()
def read_dicom(path: Path, options: ReadOptions) -> Picture:
    """Read one image: (H, W) or (H, W, 3).

    Values are those of the modality LUT or rescale (Hounsfield units in CT): uint8 or uint16 where
    it changes nothing and pixels are unsigned, float32 otherwise. MONOCHROME1 is inverted, so that
    more is whiter; padding gets the least value of the rest; palettes and YBR become RGB.

    The window is, for `options.window` "voi" and "auto", the file's VOI LUT or its first window,
    where it has one; for "full", for colour and for up to 8 bits, the range of its bits. Raises
    ImageError.
    """
    picture, padding = read_with_padding(path, options)
    fill_padding(picture.values, padding)
    return picture


@quiet_pydicom()
def read_with_padding(path: Path, options: ReadOptions) -> tuple[Picture, np.ndarray | None]:
    """`read_dicom`, but padding keeps its value; and a mask of it, bool (H, W), or None."""
    with open_image_file(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ImageError("too large (more than 2 GiB)")
        header = parse_dicom(file, stop_before_pixels=True)
        _check(header, options)
        file.seek(0)
        dataset = parse_dicom(file)
        if "PixelData" not in dataset and header.file_meta.TransferSyntaxUID.is_encapsulated:
            # Where the file ends within its pixels, pydicom leaves them out.
            file.seek(0)
            dataset = parse_dicom(io.BytesIO(file.read() + SEQUENCE_END))
    index = chosen_frame(dataset, options)
    if not any(dataset.get(name) for name in PIXELS):
        raise ImageError("no image in it (no pixel data)")
    stored = decode_stored(dataset, index)
    if dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        picture, padding = _colour(stored, dataset, options), None
    else:
        padding = _padding(stored, dataset)
        picture = _grey(stored, dataset, index, options)
    return picture._replace(lossy=dataset.file_meta.TransferSyntaxUID in LOSSY), padding


def fill_padding(values: np.ndarray, padding: np.ndarray | None) -> None:
    """Give padding, in place, the least value of the rest, of a picture or of a whole series."""
    if padding is not None and padding.any() and not padding.all():
        values[padding] = values[~padding].min()


def _check(header: Dataset, options: ReadOptions) -> None:
    """Refuse by the header alone, before memory is spent on the pixels."""
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("no image in it (no pixel data)")
    check_size(int(header.Columns), int(header.Rows), options.max_pixels)
    for keyword in ("BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"):
        require(header, keyword)
    allocated, stored = int(header.BitsAllocated), int(header.get("BitsStored") or 0)
    if allocated not in (1, 8, 16, 32, 64) or stored > allocated:
        raise ImageError(f"unsupported bit depth (BitsStored {stored}, BitsAllocated {allocated})")
    samples = 1 if header.PhotometricInterpretation in ONE_SAMPLE else 3
    if header.PhotometricInterpretation not in ONE_SAMPLE + THREE_SAMPLES:
        raise ImageError("unsupported photometric interpretation")
    if header.SamplesPerPixel != samples:
        raise ImageError(f"unsupported number of samples a pixel ({header.SamplesPerPixel})")
    chosen_frame(header, options)
    require_decoder(header.file_meta.TransferSyntaxUID)


def chosen_frame(dataset: Dataset, options: ReadOptions) -> int:
    """The frame of a file that is read, from 0. Raises ImageError where several are refused."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 and options.frames == "refuse":
        raise ImageError(f"multi-frame file ({frames} frames); data.frames=middle takes one")
    return frames // 2 if options.frames == "middle" else 0


def _colour(stored: np.ndarray, dataset: Dataset, options: ReadOptions) -> Picture:
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        descriptor = dataset.RedPaletteColorLookupTableDescriptor
        stored, top = _look_up(apply_color_lut, stored, dataset, descriptor, "palette")
    else:
        top = float((1 << int(dataset.BitsStored)) - 1)
    if stored.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"unsupported bit depth (colour of {8 * stored.itemsize} bits)")
    whole = options.window in ("auto", "voi", "full")
    return Picture(np.ascontiguousarray(stored), (0.0, top) if whole else None)


def _grey(stored: np.ndarray, dataset: Dataset, index: int, options: ReadOptions) -> Picture:
    bits, signed = int(dataset.get("BitsStored") or 0), dataset.get("PixelRepresentation") == 1
    values, low, high = _modality(stored, _for_frame(dataset, index), bits, signed)
    window = None
    if options.window in ("auto", "voi"):
        shown = _voi(values, _for_frame(dataset, index))
        if shown is not None:
            values, window = shown
    short = 0 < bits <= 8 and options.window == "auto"
    if window is None and (short or options.window == "full"):
        window = (low, high)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        turned = (low + high) - values.astype(np.float64)
        values = turned.astype(values.dtype if values.dtype.kind == "u" else np.float32)
        if window is not None:
            window = (low + high - window[1], low + high - window[0])
    return Picture(np.ascontiguousarray(values), window)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Mask of the padding, bool (H, W); None where the file names none."""
    ends = []
    for name in PADDING[stored.dtype.kind == "f"]:
        value = dataset.get(name)
        if isinstance(value, int | float):
            if stored.dtype.kind != "f":
                # It is US or SS, and some files have the one where their pixels are the other.
                words = np.iinfo(stored.dtype)
                value += ((value < words.min) - (value > words.max)) << (8 * stored.itemsize)
            ends.append(value)
    if not ends:
        return None
    found: np.ndarray = (stored >= min(ends)) & (stored <= max(ends))
    return found


def _for_frame(dataset: Dataset, index: int) -> Dataset:
    """The data set with rescale and window of a frame: the file, or its groups for frames."""
    found = dataset
    for name in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        groups = dataset.get(name) or []
        item = groups[min(index, len(groups) - 1)] if groups else Dataset()
        for part in ("PixelValueTransformationSequence", "FrameVOILUTSequence"):
            if item.get(part):
                if found is dataset:
                    found = Dataset()
                    found.PixelRepresentation = dataset.get("PixelRepresentation", 0)
                found.update(item[part][0])
    return found


def _modality(
    stored: np.ndarray, dataset: Dataset, bits: int, signed: bool
) -> tuple[np.ndarray, float, float]:
    """Values after the modality LUT or rescale, and the least and greatest they can be."""
    if stored.dtype.kind == "f":
        values = stored.astype(np.float32)
        return values, float(values.min()), float(values.max())
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if dataset.get("ModalityLUTSequence"):
        descriptor = dataset.ModalityLUTSequence[0].LUTDescriptor
        descriptor[2] = 8 if descriptor[2] <= 8 else 16  # of 12 bits pydicom knows no words
        values, top = _look_up(
            apply_modality_lut, stored, dataset, descriptor, "ModalityLUTSequence"
        )
        return values.astype(np.float32), 0.0, top
    slope = _number(dataset, "RescaleSlope") or 1.0
    intercept = _number(dataset, "RescaleIntercept") or 0.0
    low, high = sorted((least * slope + intercept, most * slope + intercept))
    if (slope, intercept) == (1, 0) and not signed and bits <= 16:
        return stored.astype(np.uint8 if bits <= 8 else np.uint16, copy=False), low, high
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32), low, high


def _voi(values: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, tuple[float, float]] | None:
    """The values to show and which of them are black and white; None without VOI in the file."""
    tables = dataset.get("VOILUTSequence")
    if tables and tables[0].get("LUTData"):
        values = np.rint(values).astype(np.int32)
        descriptor = tables[0].LUTDescriptor
        shown, top = _look_up(apply_voi, values, dataset, descriptor, "VOILUTSequence")
        return shown.astype(np.float32), (0.0, top)
    centre, width = (_number(dataset, name) for name in ("WindowCenter", "WindowWidth"))
    if centre is None or width is None or not width > 0:
        return None
    function = dataset.get("VOILUTFunction") or "LINEAR"
    if function == "SIGMOID":
        shown = 1 / (1 + np.exp(-4 * (values.astype(np.float64) - centre) / width))
        return shown.astype(np.float32), (0.0, 1.0)
    # PS3.3 C.11.2.1.2: the plain kind is meant for integers and half a step off.
    if function == "LINEAR" and width > 1:
        centre, width = centre - 0.5, width - 1
    return values, (centre - width / 2, centre + width / 2)


def _look_up(
    apply: Callable[[np.ndarray, Dataset], np.ndarray],
    values: np.ndarray,
    dataset: Dataset,
    descriptor: Sequence[int],
    name: str,
) -> tuple[np.ndarray, float]:
    """Values after a lookup table, and the greatest that its entries could have by the bits they
    use: descriptors often promise 16 bits where the entries end at 4095.

    Raises ImageError where the table has other entries than its descriptor says.
    """
    count, first = int(descriptor[0]) or 1 << 16, int(descriptor[1])
    try:
        most = int(apply(np.arange(first, first + count), dataset).max())
        shown = apply(values, dataset)
    except (IndexError, NotImplementedError, OverflowError, struct.error):
        raise ImageError(f"LUTData contradicts LUTDescriptor ({name})") from None
    return shown, float((1 << max(most.bit_length(), 8)) - 1)


def _number(dataset: Dataset, keyword: str) -> float | None:
    """The first value of an element with decimal text; None without one.

    Raises ImageError where it is no finite number.
    """
    item = dataset.get_item(keyword)
    if item is None:
        return None
    value = item.value
    if isinstance(value, bytes):  # pydicom has not looked at it yet
        value = value.decode("ascii", "replace").split("\\")[0].strip(" \0")
    elif isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    if value in (None, ""):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        # Anything else may stand there, a name too.
        shown = f" ({value})" if NUMBER_LIKE.fullmatch(str(value)) else ""
        raise ImageError(f"{keyword} is not a number{shown}")
    return number
