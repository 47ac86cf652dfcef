"""Tell what kind of image a path holds: by its suffix, or by the first bytes of the file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from a2bgan import extensions
from a2bgan.data.formats.picture import ImageError, open_image_file

Kind = Literal["picture", "dicom", "nifti", "series", "added"]
"""A file that Pillow reads, a DICOM file, a NIfTI file, a folder with a DICOM series, a file that
another package reads."""

KIND_OF_SUFFIX: dict[str, Kind] = {
    ".png": "picture",
    ".jpg": "picture",
    ".jpeg": "picture",
    ".jfif": "picture",
    ".tif": "picture",
    ".tiff": "picture",
    ".bmp": "picture",
    ".gif": "picture",
    ".webp": "picture",
    ".jp2": "picture",
    ".dcm": "dicom",
    ".nii": "nifti",
    ".nii.gz": "nifti",
}
"""Kind of file by lowercase suffix."""

ENHANCED_CLASSES = (
    b"1.2.840.10008.5.1.4.1.1.2.1", b"1.2.840.10008.5.1.4.1.1.2.2",  # CT, converted CT
    b"1.2.840.10008.5.1.4.1.1.4.1", b"1.2.840.10008.5.1.4.1.1.4.4",  # MR, converted MR
    b"1.2.840.10008.5.1.4.1.1.130", b"1.2.840.10008.5.1.4.1.1.128.1",  # PET, converted PET
)  # fmt: skip
"""SOP classes of files whose frames are the slices of a volume."""

ENHANCED_HEADER = 512
"""Bytes in which a DICOM file has named its SOP class."""

# DICOM files from before the preamble begin with group 0002 or 0008, in either order of bytes.
_OLD_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x08", b"\x00\x02")
# The length of such a group, or its first elements.
_OLD_ELEMENTS = (
    b"\2\0\0\0UL\4\0", b"\x08\0\0\0UL\4\0", b"\x08\0\0\0\4\0\0\0",
    b"\x08\0\x05\0CS", b"\x08\0\x08\0CS", b"\x08\0\x16\0UI",
)  # fmt: skip


def image_suffix(path: Path) -> str:
    """The key of KIND_OF_SUFFIX for this path: its lowercase suffix, ".nii.gz" taken as one."""
    name = path.name.lower()
    return ".nii.gz" if name.endswith(".nii.gz") else os.path.splitext(name)[1]


def kind_of(path: Path) -> Kind | None:
    """The kind of a file by its suffix, else by its content, because archives name DICOM files
    anyhow; None for any other file."""
    if (kind := KIND_OF_SUFFIX.get(image_suffix(path))) is not None:
        return kind
    # Unlike Path.is_dir, this is false for a path that is too long or forbidden.
    if os.path.isdir(path):
        return "series"
    if image_suffix(path)[1:] in extensions.added(extensions.READER_GROUP):
        return "added"
    return "dicom" if begins_like_dicom(_start_of(path, 133), any_element=False) else None


def begins_like_dicom(start: bytes, *, any_element: bool) -> bool:
    """True where the first 133 bytes of a file, or more, are those of a DICOM file.

    any_element: for a file from before the preamble, any element of its first groups will do. It
    takes a name that says DICOM: in folders other files begin with the same two bytes.
    """
    if start[128:132] == b"DICM":
        return True
    return len(start) > 132 and start.startswith(_OLD_GROUPS if any_element else _OLD_ELEMENTS)


def is_hidden(name: str) -> bool:
    """True for what a search passes over: macOS writes a `._a.png` beside each `a.png`
    on disks of other systems."""
    return name.startswith(".")


def is_image(path: Path) -> bool:
    """True for a file in a folder that is taken for an image. Hidden files are not, nor a DICOMDIR,
    which lists images."""
    if path.name.upper() == "DICOMDIR" or is_hidden(path.name):
        return False
    return kind_of(path) not in (None, "series")


def is_dicom(path: Path) -> bool:
    """True for a file that is read as DICOM."""
    return kind_of(path) == "dicom"


def is_volume(path: Path) -> bool:
    """True for a volume: a NIfTI file, a folder, or an enhanced DICOM file."""
    kind = kind_of(path)
    return kind in ("nifti", "series") or (kind == "dicom" and is_enhanced(path))


def is_enhanced(path: Path) -> bool:
    """True for a DICOM file of a class that holds all slices of a volume."""
    start = _start_of(path, ENHANCED_HEADER)
    # All have an odd length, which a zero makes even.
    return start[128:132] == b"DICM" and any(uid + b"\0" in start for uid in ENHANCED_CLASSES)


def dicom_of(path: Path) -> Path:
    """The DICOM file whose header stands for a path: of a folder, a series, the first in it."""
    if image_suffix(path) in KIND_OF_SUFFIX or not os.path.isdir(path):
        return path
    try:
        return next(_series_files(path), path)
    except OSError:
        return path


def series_files(folder: Path) -> list[Path]:
    """The DICOM files of a folder, a series, by name. Raises OSError."""
    return list(_series_files(folder))


def _series_files(folder: Path) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if not is_hidden(file.name) and os.path.isfile(file) and is_dicom(file):
            yield file


def _start_of(path: Path, count: int) -> bytes:
    """The first bytes of a file; none of one that cannot be read."""
    try:
        with open_image_file(path) as file:
            return file.read(count)
    except (ImageError, OSError):
        return b""
