"""DICOM files as images: pixels as a viewer shows them, tags, and what a DICOMDIR lists.

Standard: DICOM PS3.3 (C.7.6.3 pixels, C.11.1 modality LUT, C.11.2 VOI LUT) and PS3.5 (encodings).
"""

import io
import math
import os
import re
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

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
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

from a2bgan.data.jpeg_stream import decode_whole, jpeg_frame, with_end
from a2bgan.data.pixels_at_once import ALL_THREADS
from a2bgan.data.quiet_pydicom import quiet_pydicom
from a2bgan.data.readers import (
    SMALLEST_SIDE,
    ImageError,
    LossyPicture,
    PassingImageError,
    Picture,
    Reading,
    as_image_error,
    open_image_file,
)
from a2bgan.errors import InputError

# A deflated file tells its size only when it is inflated: a small one can fill the memory.
LARGEST_INFLATED = 256 * 1024 * 1024
LARGEST_FILE = 2 * 1024**3

DEFLATED = b"1.2.840.10008.1.2.1.99"
NOT_DEFLATED = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")

# Compressions that change values, or may.
LOSSY = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, JPEG2000, HTJ2K)

# Where the scanner saw nothing: the value, or both ends of a range; of integers and of floats.
PADDING = (
    ("PixelPaddingValue", "PixelPaddingRangeLimit"),
    (
        "FloatPixelPaddingValue", "FloatPixelPaddingRangeLimit",
        "DoubleFloatPixelPaddingValue", "DoubleFloatPixelPaddingRangeLimit",
    ),
)  # fmt: skip

# What a decoder has to know of a frame.
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

# Of these pydicom has no decoder, or one that ends the process over a damaged file.
DEEP_JPEG = (JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1)

# Text that stands for a number, however wrongly.
NUMBER_LIKE = re.compile(r"[-+]?[\d.,eE+-]{1,16}|[-+]?(nan|inf(inity)?)", re.IGNORECASE)

SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"


@quiet_pydicom()
def read_dicom(path: Path, reading: Reading) -> Picture:
    """Read one image: (H, W) or (H, W, 3).

    Values are those of the modality LUT or rescale (Hounsfield units in CT): uint8 or uint16 where
    it changes nothing and pixels are unsigned, float32 otherwise. MONOCHROME1 is turned over so
    that more is whiter; padding gets the least value there is; palettes and YBR become RGB.

    The window is, for `reading.window` "voi" and "auto", the file's VOI LUT or its first window,
    where it has one; for "full", for colour and for up to 8 bits, the range of its bits. Raises
    ImageError.
    """
    picture, padding = _read(path, reading)
    if padding is not None and not padding.all():
        values = picture.values
        filled = np.where(padding, values[~padding].min(), values)
        picture = picture._replace(values=np.ascontiguousarray(filled))
    return picture


@quiet_pydicom()
def read_slice_of_series(path: Path, reading: Reading) -> tuple[Picture, np.ndarray | None]:
    """As `read_dicom`, but padding keeps its value; and where it is, bool (H, W), or None.

    What padding becomes is for the whole series to say.
    """
    return _read(path, reading)


def _read(path: Path, reading: Reading) -> tuple[Picture, np.ndarray | None]:
    with open_image_file(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ImageError("too large (more than 2 GiB)")
        header = _parse(file, stop_before_pixels=True)
        _check(header, reading)
        file.seek(0)
        dataset = _parse(file)
        if "PixelData" not in dataset and header.file_meta.TransferSyntaxUID.is_encapsulated:
            # Where the file ends within its pixels, pydicom leaves them out.
            file.seek(0)
            dataset = _parse(io.BytesIO(file.read() + SEQUENCE_END))
    index = chosen_frame(dataset, reading)
    if not any(dataset.get(name) for name in PIXELS):
        raise ImageError("no image in it (no pixel data)")
    ALL_THREADS.claim(int(dataset.Rows) * int(dataset.Columns))
    stored = _decode(dataset, index)
    padding = None
    if dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        picture = _colour(stored, dataset, reading)
    else:
        padding = _padding(stored, dataset)
        picture = _grey(stored, dataset, index, reading)
    lossy = dataset.file_meta.TransferSyntaxUID in LOSSY
    return (LossyPicture(*picture) if lossy else picture), padding


@quiet_pydicom()
def read_tags(path: Path, keywords: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Values of top-level elements as text, by keyword; absent and empty ones are left out.

    None for a file that is not DICOM or whose header cannot be read.
    """
    try:
        with open_image_file(path) as file:
            dataset = _parse(file, stop_before_pixels=True, specific_tags=list(keywords))
        found = {}
        for keyword in keywords:
            value = dataset.get(keyword)
            if value not in (None, ""):
                several = isinstance(value, pydicom.multival.MultiValue)
                found[keyword] = tuple(str(v).strip() for v in (value if several else [value]))
        return found
    except Exception:  # a damaged header raises anything; the reader will name the file
        return None


@quiet_pydicom()
def read_header(path: Path) -> Dataset:
    """All elements but the pixels. Raises ImageError."""
    with open_image_file(path) as file:
        try:
            return _parse(file, stop_before_pixels=True)
        except Exception as error:
            raise as_image_error(error) from None


def readable_transfer_syntaxes() -> list[UID]:
    """The transfer syntaxes whose pixels can be decoded with what is installed."""
    found = []
    for syntax in AllTransferSyntaxes:
        with suppress(NotImplementedError):
            if syntax in DEEP_JPEG or get_decoder(syntax).is_available:
                found.append(syntax)
    return found


@quiet_pydicom()
def read_dicomdir(path: Path) -> list[Path]:
    """The image files that a DICOMDIR lists, in its order. Raises InputError.

    Names that lead out of its folder are refused.
    """
    try:
        with open_image_file(path) as file:
            records = _parse(file).get("DirectoryRecordSequence", ())
        named = [r.ReferencedFileID for r in records if r.get("DirectoryRecordType") == "IMAGE"]
    except ImageError as error:
        raise InputError(f"{path}: {error}") from None
    except Exception:
        raise InputError(f"{path}: damaged DICOMDIR; give the folder of its images") from None
    files = []
    root = path.parent.resolve()
    for name in named:
        parts = [name] if isinstance(name, str) else list(name)
        listed = root.joinpath(*(part.replace("\\", "/") for part in parts)).resolve()
        if not listed.is_relative_to(root):
            raise InputError(f"{path}: lists a file outside its folder; give the images themselves")
        files.append(path.parent / listed.relative_to(root))
    if not files:
        raise InputError(f"{path}: lists no images")
    return files


def _parse(file: io.BufferedIOBase, **options: Any) -> Dataset:
    """The dataset of a file, deflated ones within limits; old files have no preamble."""
    start = file.read(4096)
    file.seek(0)
    source = file
    if DEFLATED in start:
        source = io.BytesIO(_inflate(file.read()))
    elif start[128:132] != b"DICM" and not _looks_like_elements(start):
        raise ImageError("not a DICOM file, or a damaged one")
    dataset = pydicom.dcmread(source, force=True, **options)
    if dataset.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        if options:
            raise ImageError("a DICOMDIR, not an image; give it by its name to list its images")
    elif "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian
        if not implicit:
            explicit = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1")
            syntax = UID(explicit[bool(little)])
        dataset.file_meta.TransferSyntaxUID = syntax
    return dataset


def _looks_like_elements(start: bytes) -> bool:
    # Files from before the preamble begin with group 0002 or 0008, in either order of bytes.
    return start[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08", b"\x00\x02") and len(start) > 132


def _inflate(content: bytes) -> bytes:
    """The file with its data set inflated, under the transfer syntax that says so."""
    # (0002,0000), always first and 12 bytes long, tells where the part that is deflated begins.
    if content[132:140] != b"\x02\x00\x00\x00UL\x04\x00":
        raise ImageError("damaged file")
    end = 144 + int.from_bytes(content[140:144], "little")
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = inflater.decompress(content[end:], LARGEST_INFLATED)
    if inflater.unconsumed_tail:
        raise ImageError(f"too large (inflates to more than {LARGEST_INFLATED >> 20} MiB)")
    if not inflater.eof:
        raise ImageError("truncated file")
    return content[:end].replace(DEFLATED, NOT_DEFLATED) + inflated


def _check(header: Dataset, reading: Reading) -> None:
    """Refuse by the header alone, before memory is spent on the pixels."""
    if "Rows" not in header or "Columns" not in header:
        raise ImageError("no image in it (no pixel data)")
    width, height = int(header.Columns), int(header.Rows)
    if width * height > reading.max_pixels:
        raise ImageError(f"too large ({width} x {height}; more than {reading.max_pixels:,} pixels)")
    if min(width, height) < SMALLEST_SIDE:
        raise ImageError(f"too small ({width} x {height} pixels)")
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
    chosen_frame(header, reading)
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


def chosen_frame(dataset: Dataset, reading: Reading) -> int:
    """Which frame of a file is read, from 0. Raises ImageError where several are refused."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 and reading.frames == "refuse":
        raise ImageError(f"multi-frame file ({frames} frames); data.frames=middle takes one")
    return frames // 2 if reading.frames == "middle" else 0


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
    """Where in a word a value begins, by HighBit. Raises ImageError where it cannot be."""
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
    # A decoder believes the picture in it, whose size nobody has checked.
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


def _colour(stored: np.ndarray, dataset: Dataset, reading: Reading) -> Picture:
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        top = _top_of(
            apply_color_lut(_entries(dataset.RedPaletteColorLookupTableDescriptor), dataset)
        )
        stored = apply_color_lut(stored, dataset)
    else:
        top = (1 << int(dataset.BitsStored)) - 1
    if stored.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"unsupported bit depth (colour of {8 * stored.itemsize} bits)")
    whole = reading.window in ("auto", "voi", "full")
    return Picture(np.ascontiguousarray(stored), (0.0, float(top)) if whole else None)


def _grey(stored: np.ndarray, dataset: Dataset, index: int, reading: Reading) -> Picture:
    bits, signed = int(dataset.get("BitsStored") or 0), dataset.get("PixelRepresentation") == 1
    values, low, high = _modality(stored, _for_frame(dataset, index), bits, signed)
    window = None
    if reading.window in ("auto", "voi"):
        shown = _voi(values, _for_frame(dataset, index))
        if shown is not None:
            values, window = shown
    short = 0 < bits <= 8 and reading.window == "auto"
    if window is None and (short or reading.window == "full"):
        window = (low, high)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        turned = (low + high) - values.astype(np.float64)
        values = turned.astype(values.dtype if values.dtype.kind == "u" else np.float32)
        if window is not None:
            window = (low + high - window[1], low + high - window[0])
    return Picture(np.ascontiguousarray(values), window)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Where the scanner saw nothing, bool (H, W)."""
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
    """Where rescale and window stand: in the file, or in one of its groups for frames."""
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
        entries = _entries(descriptor)
        top = _top_of(apply_modality_lut(entries, dataset))
        return apply_modality_lut(stored, dataset).astype(np.float32), 0.0, top
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
        top = _top_of(apply_voi(_entries(tables[0].LUTDescriptor), dataset))
        shown = apply_voi(np.rint(values).astype(np.int32), dataset)
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


def _entries(descriptor: Sequence[int]) -> np.ndarray:
    """Every value that a lookup table has an entry for."""
    count, first = int(descriptor[0]) or 1 << 16, int(descriptor[1])
    return np.arange(first, first + count)


def _top_of(entries: np.ndarray) -> float:
    """The greatest value that a table's entries could have by the bits they use.

    Descriptors often promise 16 bits where the entries end at 4095.
    """
    return float((1 << max(int(entries.max()).bit_length(), 8)) - 1)


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
