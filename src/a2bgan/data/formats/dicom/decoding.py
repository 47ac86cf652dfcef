"""Stored values of a DICOM file's frames, decoded from any transfer syntax (PS3.5)."""

from contextlib import suppress

import imagecodecs
import numpy as np
import pydicom
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import convert_color_space
from pydicom.uid import (
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

from a2bgan.data.formats.jpeg_stream import decode_whole, jpeg_frame, with_end
from a2bgan.data.formats.picture import ImageError, PassingImageError

# Elements that a decoder needs.
DESCRIPTION = (
    "Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration",
    "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
)  # fmt: skip

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


def readable_transfer_syntaxes() -> list[UID]:
    """The transfer syntaxes whose pixels can be decoded with what is installed."""
    found = []
    for syntax in AllTransferSyntaxes:
        with suppress(NotImplementedError):
            if syntax in DEEP_JPEG or get_decoder(syntax).is_available:
                found.append(syntax)
    return found


def require_decoder(syntax: UID) -> None:
    """ImageError for a transfer syntax that cannot be decoded, or not with what is installed."""
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


def require(dataset: Dataset, keyword: str) -> None:
    if dataset.get(keyword) in (None, ""):
        raise ImageError(f"{keyword} is missing")


def decode_stored(dataset: Dataset, index: int) -> np.ndarray:
    """Decode the stored values of one frame, (H, W) or (H, W, 3), YBR as RGB. ImageError."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if "PixelData" in dataset:
        require(dataset, "BitsStored")
        require(dataset, "PixelRepresentation")
        if dataset.SamplesPerPixel == 3 and not syntax.is_encapsulated:
            require(dataset, "PlanarConfiguration")
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
        words = _plain_words(dataset, index)
        decoded = _run_decoder(dataset, index, "") if words is None else words
    return _significant(decoded, dataset, lowest)


def _plain_words(dataset: Dataset, index: int) -> np.ndarray | None:
    """A frame of one sample a pixel in little-endian words of 8 or 16 bits; None for any other,
    which pydicom reads."""
    allocated = int(dataset.BitsAllocated)
    little = dataset.file_meta.TransferSyntaxUID.is_little_endian
    plain = allocated in (8, 16) and dataset.SamplesPerPixel == 1 and little
    if not plain or "PixelData" not in dataset:
        return None
    shape, size = (int(dataset.Rows), int(dataset.Columns)), _frame_bytes(dataset)
    if len(dataset.PixelData) < (index + 1) * size:
        raise ImageError("damaged or truncated file (its pixels cannot be decoded)")
    kind = np.dtype(f"<{'i' if dataset.PixelRepresentation else 'u'}{allocated // 8}")
    words = np.frombuffer(dataset.PixelData, kind, shape[0] * shape[1], index * size)
    return words.reshape(shape).copy()  # writeable, for padding to be filled


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
    if stored.dtype.kind == "u":
        values: np.ndarray = np.bitwise_and(stored >> lowest, (1 << bits) - 1)
        return values
    # Moved to the upper end of the word and back, which carries the sign down again.
    above = 8 * stored.dtype.itemsize - bits
    values = (stored << (above - lowest)) >> above
    return values


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
