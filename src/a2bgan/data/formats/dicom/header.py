"""DICOM files without their pixels: elements, tags, and the images that a DICOMDIR lists."""

import io
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, MediaStorageDirectoryStorage

from a2bgan.data.formats.dicom.quiet import quiet_pydicom
from a2bgan.data.formats.kinds import begins_like_dicom
from a2bgan.data.formats.picture import ImageError, as_image_error, open_image_file
from a2bgan.errors import InputError

# A deflated file tells its size only when it is inflated: a small one can fill the memory.
LARGEST_INFLATED = 256 * 1024 * 1024

DEFLATED = b"1.2.840.10008.1.2.1.99"
NOT_DEFLATED = b"1.2.840.10008.1.2.1".ljust(len(DEFLATED), b"\0")


@quiet_pydicom()
def read_tags(path: Path, keywords: Sequence[str]) -> dict[str, tuple[str, ...]] | None:
    """Values of top-level elements as text, by keyword; absent and empty ones are left out.

    None for a file that is not DICOM or whose header cannot be read.
    """
    try:
        with open_image_file(path) as file:
            dataset = parse_dicom(file, stop_before_pixels=True, specific_tags=list(keywords))
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
            return parse_dicom(file, stop_before_pixels=True)
        except Exception as error:
            raise as_image_error(error) from None


@quiet_pydicom()
def read_dicomdir(path: Path) -> list[Path]:
    """The image files that a DICOMDIR lists, in its order. Raises InputError.

    Names that lead out of its folder are refused.
    """
    try:
        with open_image_file(path) as file:
            records = parse_dicom(file).get("DirectoryRecordSequence", ())
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


def parse_dicom(file: io.BufferedIOBase, **options: Any) -> Dataset:
    """The dataset of a file, deflated ones within limits; old files have no preamble."""
    start = file.read(4096)
    file.seek(0)
    source = file
    if DEFLATED in start:
        source = io.BytesIO(_inflate(file.read()))
    elif not begins_like_dicom(start, any_element=True):
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
