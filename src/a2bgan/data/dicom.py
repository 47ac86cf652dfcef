"""DICOM files as images: pixels as a viewer shows them, tags, and what a DICOMDIR lists.

Standard: DICOM PS3.3 (C.7.6.3 pixels, C.11.1 modality LUT, C.11.2 VOI LUT) and PS3.5 (encodings).
"""

import io
import logging
import os
import warnings
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    AllTransferSyntaxes,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    MediaStorageDirectoryStorage,
    RLELossless,
)

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

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")

ONE_SAMPLE = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
THREE_SAMPLES = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

# What pydicom and its decoders have to say about a file can quote a patient's name.
for _name in ("pydicom", "pylibjpeg", "openjpeg", "libjpeg", "rle", "highdicom"):
    logging.getLogger(_name).addHandler(logging.NullHandler())
    logging.getLogger(_name).propagate = False
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE


def read_dicom(path: Path, reading: Reading) -> Picture:
    """Read one image: (H, W) or (H, W, 3).

    Values are those of the modality LUT or rescale (Hounsfield units in CT): uint8 or uint16 where
    it changes nothing and pixels are unsigned, float32 otherwise. MONOCHROME1 is turned over so
    that more is whiter; padding gets the least value there is; palettes and YBR become RGB.

    The window is, for `reading.window` "voi" and "auto", the file's VOI LUT or its first window,
    where it has one; for "full", for colour and for up to 8 bits, the range of its bits. Raises
    ImageError.
    """
    _silence()
    with open_image_file(path) as file:
        if os.fstat(file.fileno()).st_size > LARGEST_FILE:
            raise ImageError("too large (more than 2 GiB)")
        _check(_parse(file, stop_before_pixels=True), reading)
        file.seek(0)
        dataset = _parse(file)
    index = chosen_frame(dataset, reading)
    if not any(dataset.get(name) for name in PIXELS):
        raise ImageError("no image in it (no pixel data)")
    stored = _decode(dataset, index)
    if dataset.SamplesPerPixel == 3 or dataset.PhotometricInterpretation == "PALETTE COLOR":
        picture = _colour(stored, dataset, reading)
    else:
        picture = _grey(stored, dataset, index, reading)
    lossy = dataset.file_meta.TransferSyntaxUID in LOSSY
    return LossyPicture(*picture) if lossy else picture


def read_tags(path: Path, keywords: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Values of top-level elements as text, by keyword; absent and empty ones are left out.

    None for a file that is not DICOM or whose header cannot be read.
    """
    _silence()
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


def read_header(path: Path) -> Dataset:
    """All elements but the pixels. Raises ImageError."""
    _silence()
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
            if get_decoder(syntax).is_available:
                found.append(syntax)
    return found


def read_dicomdir(path: Path) -> list[Path]:
    """The image files that a DICOMDIR lists, in its order. Raises InputError.

    Names that lead out of its folder are refused.
    """
    _silence()
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


def _silence() -> None:
    warnings.filterwarnings("ignore", module=r"pydicom|openjpeg|libjpeg|rle|highdicom")


def _parse(file: io.BufferedReader, **options: Any) -> Dataset:
    """The dataset of a file, deflated ones within limits; old files have no preamble."""
    start = file.read(4096)
    file.seek(0)
    source: io.BufferedReader | io.BytesIO = file
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
    allocated, stored = int(header.BitsAllocated), int(header.get("BitsStored", 0))
    if allocated not in (1, 8, 16, 32, 64) or stored > allocated:
        raise ImageError(f"unsupported bit depth ({stored} of {allocated} bits)")
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
    if not decoder.is_available:
        raise PassingImageError(f"{syntax.name} needs a decoder; pip install 'a2bgan[jpeg]'")


def chosen_frame(dataset: Dataset, reading: Reading) -> int:
    """Which frame of a file is read, from 0. Raises ImageError where several are refused."""
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames > 1 and reading.frames == "refuse":
        raise ImageError(f"multi-frame file ({frames} frames); data.frames=middle takes one")
    return frames // 2 if reading.frames == "middle" else 0


def _decode(dataset: Dataset, index: int) -> np.ndarray:
    """Stored values of one frame, (H, W) or (H, W, 3), YBR as RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if syntax.is_encapsulated:
        frames = int(dataset.get("NumberOfFrames") or 1)
        frame = pydicom.encaps.get_frame(dataset.PixelData, index, number_of_frames=frames)
        inside = _codestream_size(frame)
        # A decoder believes the picture in it, whose size nobody has checked.
        if inside is not None and inside != (rows, columns):
            raise ImageError(
                f"header and picture disagree ({columns} x {rows}, {inside[1]} x {inside[0]})"
            )
    elif "PixelData" in dataset:
        expected = rows * columns * int(dataset.SamplesPerPixel) * int(dataset.BitsAllocated) // 8
        if dataset.PhotometricInterpretation == "YBR_FULL_422":
            expected = expected // 3 * 2
        if len(dataset.PixelData) < expected:
            raise ImageError("truncated file (fewer pixels than its header says)")
    # Of the decoders for RLE, the one in Rust ends the process over a damaged file.
    plugin = "pydicom" if syntax == RLELossless else ""
    try:
        decoded, _ = get_decoder(syntax).as_array(
            dataset, index=index, raw=False, decoding_plugin=plugin
        )
    except RuntimeError:
        # The message of a decoder lists every attempt, over several lines.
        raise ImageError("damaged file (its pixels cannot be decoded)") from None
    return decoded


def _codestream_size(frame: bytes) -> tuple[int, int] | None:
    """(rows, columns) of a JPEG, JPEG-LS or JPEG 2000 picture; None where they are not found."""
    if frame[:4] == b"\xff\x4f\xff\x51":
        x1, y1, x0, y0 = (int.from_bytes(frame[k : k + 4], "big") for k in (8, 12, 16, 20))
        return y1 - y0, x1 - x0
    place = 2
    while frame[:2] == b"\xff\xd8" and place + 9 < len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if marker == 0xFF:  # fill
            place += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (
                int.from_bytes(frame[place + k : place + k + 2], "big") for k in (5, 7)
            )
            return rows, columns
        else:
            place += 2 + int.from_bytes(frame[place + 2 : place + 4], "big")
    return None


def _colour(stored: np.ndarray, dataset: Dataset, reading: Reading) -> Picture:
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
        top = (1 << 8 * stored.itemsize) - 1
    else:
        top = (1 << int(dataset.BitsStored)) - 1
    if stored.dtype not in (np.uint8, np.uint16):
        raise ImageError(f"unsupported bit depth (colour of {8 * stored.itemsize} bits)")
    whole = reading.window in ("auto", "voi", "full")
    return Picture(np.ascontiguousarray(stored), (0.0, float(top)) if whole else None)


def _grey(stored: np.ndarray, dataset: Dataset, index: int, reading: Reading) -> Picture:
    bits, signed = int(dataset.get("BitsStored", 0)), dataset.get("PixelRepresentation", 0) == 1
    padding = _padding(stored, dataset)
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
    if padding is not None and not padding.all():
        values = np.where(padding, values[~padding].min(), values)
    return Picture(np.ascontiguousarray(values), window)


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Where the scanner saw nothing, bool (H, W)."""
    one = dataset.get("PixelPaddingValue")
    if not isinstance(one, int):
        return None
    other = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((one, other if isinstance(other, int) else one))
    found: np.ndarray = (stored >= low) & (stored <= high)
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
        values = apply_modality_lut(stored, dataset)
        top = float((1 << int(dataset.ModalityLUTSequence[0].LUTDescriptor[2])) - 1)
        return values.astype(np.float32), 0.0, top
    slope = float(dataset.get("RescaleSlope") or 1)
    intercept = float(dataset.get("RescaleIntercept") or 0)
    low, high = sorted((least * slope + intercept, most * slope + intercept))
    if (slope, intercept) == (1, 0) and not signed and bits <= 16:
        return stored.astype(np.uint8 if bits <= 8 else np.uint16), low, high
    return (stored.astype(np.float64) * slope + intercept).astype(np.float32), low, high


def _voi(values: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, tuple[float, float]] | None:
    """The values to show and which of them are black and white; None without VOI in the file."""
    tables = dataset.get("VOILUTSequence")
    if tables and tables[0].get("LUTData"):
        top = float((1 << int(tables[0].LUTDescriptor[2])) - 1)
        shown = apply_voi(np.rint(values).astype(np.int32), dataset)
        return shown.astype(np.float32), (0.0, top)
    centre, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
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


def _first(value: Any) -> float | None:
    if isinstance(value, pydicom.multival.MultiValue):
        value = value[0] if value else None
    return None if value in (None, "") else float(value)
