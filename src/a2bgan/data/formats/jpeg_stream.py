"""JPEG streams: their frame header, and decoding that refuses streams which end early.

Most decoders fill the missing part of a JPEG with grey and say nothing. Standard: ITU-T T.81.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import simplejpeg

from a2bgan.data.formats.picture import ImageError

START, SCAN, END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"

# The processes that simplejpeg reads; a lossless stream makes it write beyond its memory.
SEQUENTIAL_OR_PROGRESSIVE = (0xC0, 0xC1, 0xC2)

MOST_SCANS = 500
"""A progressive picture has some ten scans; each costs as much as decoding the picture, and a small
file can hold thousands."""

FILLER = b"\x5a\x33" * 512
"""Bytes that a decoder reads on with where data are missing, and passes over where none are."""


class JpegFrame(NamedTuple):
    """The frame header of a stream.

    process: the marker's second byte, 0xC0 for baseline; bits: of a sample; components: their
    identifiers; markers: the application segments before it, 0 for JFIF's and 14 for Adobe's.
    """

    process: int
    rows: int
    columns: int
    bits: int
    components: tuple[int, ...]
    markers: frozenset[int]

    @property
    def is_unmarked_ycbcr(self) -> bool:
        """True for YCbCr that no segment announces: libjpeg takes components numbered 1,
        2, 3 for it, and encoders of RGB give other numbers."""
        lossy = self.process in SEQUENTIAL_OR_PROGRESSIVE
        return lossy and not self.markers & {0, 14} and self.components == (1, 2, 3)


def jpeg_frame(stream: bytes) -> JpegFrame | None:
    """The frame header of a JPEG or JPEG-LS stream; None where none is found."""
    place, markers = 2, set[int]()
    while stream[:2] == START and place + 9 < len(stream) and stream[place] == 0xFF:
        marker = stream[place + 1]
        if marker == 0xFF:  # fill
            place += 1
        elif marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            rows, columns = (
                int.from_bytes(stream[place + k : place + k + 2], "big") for k in (5, 7)
            )
            count, first = stream[place + 9], place + 10
            components = tuple(stream[first : first + 3 * count : 3])
            return JpegFrame(
                marker, rows, columns, stream[place + 4], components, frozenset(markers)
            )
        else:
            if 0xE0 <= marker <= 0xEF:
                markers.add(marker - 0xE0)
            place += 2 + int.from_bytes(stream[place + 2 : place + 4], "big")
    return None


def with_end(stream: bytes) -> bytes:
    """A stream with an end marker, which some writers leave out."""
    return stream if stream.rstrip(b"\0").endswith(END) else stream + END


def decode_common(stream: bytes) -> np.ndarray | None:
    """Decode a JPEG of 8 bits, grey (H, W) or colour (H, W, 3); None for any other kind, or where
    only another decoder can tell whether it is whole.

    Raises ImageError where data end early.
    """
    frame = jpeg_frame(stream)
    _check_scans(stream)
    if frame is None or frame.bits != 8 or frame.process not in SEQUENTIAL_OR_PROGRESSIVE:
        return None
    if len(frame.components) not in (1, 3):
        return None
    colours = "gray" if len(frame.components) == 1 else "rgb"
    try:
        values: np.ndarray = simplejpeg.decode_jpeg(with_end(stream), colours)
    except ValueError as error:
        if "premature end" in str(error).lower():
            raise ImageError("truncated file") from None
        return None
    return values[..., 0] if len(frame.components) == 1 else values


def decode_whole(stream: bytes, decode: Callable[[bytes], np.ndarray]) -> np.ndarray:
    """Decode a JPEG stream, or refuse one whose data end early, with or without an end marker.

    decode: a decoder of streams. Where simplejpeg does not know the kind of JPEG (12 bits,
    lossless), data are complete if the picture is the same whatever follows them.

    Raises ImageError.
    """
    frame = jpeg_frame(stream)
    _check_scans(stream)
    if frame is not None and frame.bits == 8 and frame.process in SEQUENTIAL_OR_PROGRESSIVE:
        try:
            # At an eighth of the size: all data are read, but little is computed.
            simplejpeg.decode_jpeg(
                with_end(stream), "gray", min_height=1, min_width=1, min_factor=8
            )
        except ValueError as error:
            if "premature end" in str(error).lower():
                raise ImageError("truncated file") from None
        else:
            return decode(with_end(stream))
    whole = decode(with_end(stream))
    body = stream.rstrip(b"\0").removesuffix(END).rstrip(b"\xff")  # fill before a marker
    try:
        followed = decode(body + FILLER + END)
    except Exception:
        raise ImageError("truncated file") from None
    if not np.array_equal(whole, followed):
        raise ImageError("truncated file")
    return whole


def _check_scans(stream: bytes) -> None:
    if stream.count(SCAN) > MOST_SCANS:
        raise ImageError(f"more than {MOST_SCANS} scans in a JPEG")
