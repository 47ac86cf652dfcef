"""DICOM files as images: pixels as a viewer shows them.

Standard: DICOM PS3.3 (C.7.6.3 pixels, C.11.1 modality LUT, C.11.2 VOI LUT) and PS3.5 (encodings).
"""

import io
import math
import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    convert_color_space,
)
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from a2bgan.data.formats.dicom.header import parse_dicom
from a2bgan.data.formats.dicom.quiet import quiet_pydicom
from a2bgan.data.formats.jpeg_stream import decode_whole, jpeg_frame, with_end
from a2bgan.data.formats.picture import (
    ImageError,
    PassingImageError,
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

# Elements that a decoder needs.
DESCRIPTION = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# Which of pydicom's plugins decodes a syntax. There is no second opinion: a more lenient decoder
# turns half a stream into a picture.
PLUGINS = {
    RLELossless: "pydicom",  # the one in Rust ends the process over a damaged file
    JPEGBaseline8Bit: "pillow",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
}
OTHER_PLUGIN = "pylibjpeg"

# pydicom has no decoder for these, or one that ends the process over a damaged file.
DEEP_JPEG = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)

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
    stored = _decode(dataset, index)
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


def readable_transfer_syntaxes() -> list[UID]:
    """The transfer syntaxes whose pixels can be decoded with what is installed."""
    found = []
    for syntax in AllTransferSyntaxes:
        with suppress(NotImplementedError):
            if syntax in DEEP_JPEG or get_decoder(syntax).is_available:
                found.append(syntax)
    return found


def _check(header: Dataset, options: ReadOptions) -> None:
    """Refuse by the header alone, before memory is spent on the pixels."""
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("no image in it (no pixel data)")
    check_size(int(header.Columns), int(header.Rows), options.max_pixels)
    for keyword in ("BitsAllocated", "SamplesPerPixel", "PhotometricInterpretation"):
        _require(header, keyword)
    allocated, stored = int(header.BitsAllocated), int(header.get("BitsStored") or 0)
    if allocated not in (1, 8, 16, 32, 64) or stored > allocated:
        raise ImageError(f"unsupported bit depth (BitsStored {stored}, BitsAllocated {allocated})")
    samples = 1 if header.PhotometricInterpretation in ONE_SAMPLE else 3
    if header.PhotometricInterpretation not in ONE_SAMPLE + THREE_SAMPLES:
        raise ImageError("unsupported photometric interpretation")
    if header.SamplesPerPixel != samples:
        raise ImageError(f"unsupported number of samples a pixel ({header.SamplesPerPixel})")
    chosen_frame(header, options)
    syntax = header.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        # Not the value itself where it is no known one: anything may stand there.
        known = syntax.name if syntax in UID_dictionary else "an unknown one"
        raise ImageError(f"unsupported transfer syntax ({known})") from None
    if syntax.is_encapsulated and syntax not in DEEP_JPEG:
        plugin = PLUGINS.get(syntax, OTHER_PLUGIN)
        if plugin not in decoder.available_plugins:
            raise PassingImageError(f"{syntax.name} needs a decoder; pip install {plugin}")


def _require(dataset: Dataset, keyword: str) -> None:
    if dataset.get(keyword) in (None, ""):
        raise ImageError(f"{keyword} is missing")


def chosen_frame(dataset: Dataset, options: ReadOptions) -> int:
    """The frame of a file that is read, from 0. Raises ImageError where several are refused."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 and options.frames == "refuse":
        raise ImageError(f"multi-frame file ({frames} frames); data.frames=middle takes one")
    return frames // 2 if options.frames == "middle" else 0


def _decode(dataset: Dataset, index: int) -> np.ndarray:
    """Stored values of one frame, (H, W) or (H, W, 3), YBR as RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" in dataset:
        _require(dataset, "BitsStored")
        _require(dataset, "PixelRepresentation")
        if dataset.SamplesPerPixel == 3 and not syntax.is_encapsulated:
            _require(dataset, "PlanarConfiguration")
    lowest = _lowest_bit(dataset)
    if syntax.is_encapsulated:
        decoded = _decode_frame(dataset, index)
        if lowest and syntax != RLELossless:
            raise ImageError(
                f"HighBit ({dataset.HighBit}) contradicts BitsStored ({dataset.BitsStored})"
            )
    else:
        if "PixelData" in dataset and len(dataset.PixelData) < _frame_bytes(dataset):
            raise ImageError("truncated file (fewer pixels than its header says)")
        decoded = _run_decoder(dataset, index, "")
    return _significant(decoded, dataset, lowest)


def _frame_bytes(dataset: Dataset) -> int:
    """Length of one frame as it is stored without compression."""
    pixels = int(dataset.Rows) * int(dataset.Columns)
    expected = pixels * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
    return expected // 3 * 2 if dataset.PhotometricInterpretation == "YBR_FULL_422" else expected


def _lowest_bit(dataset: Dataset) -> int:
    """The bit of a word where a value begins, by HighBit. ImageError for an impossible one."""
    bits = int(dataset.get("BitsStored") or 0)
    high = dataset.get("HighBit")
    if not bits or high is None:
        return 0
    if not bits - 1 <= high < int(dataset.BitsAllocated):
        raise ImageError(f"HighBit ({high}) contradicts BitsStored ({bits})")
    return int(high) - bits + 1


def _significant(stored: np.ndarray, dataset: Dataset, lowest: int) -> np.ndarray:
    """Values without what else stands in their words, as overlays did once."""
    if stored.dtype.kind not in "iu":
        return stored
    bits = int(dataset.BitsStored)
    if (bits, lowest) == (8 * stored.dtype.itemsize, 0):
        return stored
    values = (stored.astype(np.int64) >> lowest) & ((1 << bits) - 1)
    if stored.dtype.kind == "i":
        values -= (values >> (bits - 1)) << bits
    return values.astype(stored.dtype)


def _decode_frame(dataset: Dataset, index: int) -> np.ndarray:
    """Decode a compressed frame, or refuse one of which a part is missing."""
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    frames = int(dataset.get("NumberOfFrames") or 1)
    stream = pydicom.encaps.get_frame(dataset.PixelData, index, number_of_frames=frames)
    header = jpeg_frame(stream)
    inside = _codestream_size(stream) if header is None else (header.rows, header.columns)
    # A decoder goes by the size in the stream, which has not been checked.
    if inside is not None and inside != (rows, columns):
        raise ImageError(
            f"header and picture disagree ({columns} x {rows}, {inside[1]} x {inside[0]})"
        )
    single = Dataset()
    single.file_meta = dataset.file_meta
    for keyword in DESCRIPTION:
        if keyword in dataset:
            setattr(single, keyword, dataset[keyword].value)
    if header is not None and header.is_unmarked_ycbcr and single.SamplesPerPixel == 3:
        single.PhotometricInterpretation = "YBR_FULL_422"

    def decode(frame: bytes) -> np.ndarray:
        if syntax in DEEP_JPEG:
            return _decode_deep_jpeg(frame, single)
        single.PixelData = pydicom.encaps.encapsulate([frame])
        return _run_decoder(single, 0, PLUGINS.get(syntax, OTHER_PLUGIN))

    if header is None:
        return decode(stream)
    if syntax in (JPEGLSLossless, JPEGLSNearLossless):  # their decoder notices a missing end
        return decode(with_end(stream))
    return decode_whole(stream, decode)


def _decode_deep_jpeg(stream: bytes, dataset: Dataset) -> np.ndarray:
    """A JPEG of up to 16 bits, lossless or not, (H, W) or (H, W, 3), YBR as RGB."""
    three = int(dataset.SamplesPerPixel) == 3
    as_stored = "RGB" if three else None
    try:
        decoded: np.ndarray = imagecodecs.jpeg8_decode(
            stream, colorspace=as_stored, outcolorspace=as_stored
        )
    except imagecodecs.Jpeg8Error:
        raise ImageError("damaged or truncated file (its pixels cannot be decoded)") from None
    if three and dataset.PhotometricInterpretation.startswith("YBR"):
        decoded = convert_color_space(decoded, "YBR_FULL", "RGB")
    kind = "i" if dataset.PixelRepresentation else "u"
    return decoded.astype(f"u{int(dataset.BitsAllocated) // 8}").view(
        f"{kind}{int(dataset.BitsAllocated) // 8}"
    )


def _run_decoder(dataset: Dataset, index: int, plugin: str) -> np.ndarray:
    try:
        decoded, _ = get_decoder(dataset.file_meta.TransferSyntaxUID).as_array(
            dataset,
            index=index,
            raw=False,
            decoding_plugin=plugin,
            correct_unused_bits=False,  # type: ignore[arg-type]  # an option like the others
        )
    except RuntimeError:
        # The message of a decoder lists every attempt, over several lines.
        raise ImageError("damaged or truncated file (its pixels cannot be decoded)") from None
    return decoded


def _codestream_size(stream: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG 2000 picture; None for anything else."""
    if stream[:4] != b"\xff\x4f\xff\x51":
        return None
    x1, y1, x0, y0 = (int.from_bytes(stream[k : k + 4], "big") for k in (8, 12, 16, 20))
    return y1 - y0, x1 - x0


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
        return stored.astype(np.uint8 if bits <= 8 else np.uint16), low, high
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
    except (IndexError, NotImplementedError):
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
