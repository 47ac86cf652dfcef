"""NIfTI files, version 1 and 2 (nifti.nimh.nih.gov): read as volumes, and written."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np

from a2bgan.data.formats.grid import LARGEST_VOXEL_COUNT, Grid, in_stored_order, usable_affine
from a2bgan.data.formats.picture import ImageError, as_image_error, open_image_file
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.files.atomic import atomic_file

LARGEST_BYTES = 2**30
LARGEST_OFFSET = 2**24

# Header fields that say where voxels are; the others can name a patient.
GEOMETRY = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


def read_nifti_grid(path: Path) -> Grid:
    """Read where the voxels are, from the header alone. Raises ImageError."""
    with _opened(path) as stream:
        return _grid(stream)


def read_nifti(path: Path) -> tuple[np.ndarray, Grid]:
    """Read the values, float32 as stored, and where they are. Raises ImageError."""
    with _opened(path) as stream:
        grid = _grid(stream)
        return _values(stream, grid), grid


def write_map(path: Path, values: np.ndarray, grid: Grid) -> None:
    """Write values (X, Y, Z) along RAS+ axes as NIfTI in the voxels of `grid`: bool as uint8, all
    others as float32.

    Of its header only the geometry is copied. Raises OSError.
    """
    dtype = np.uint8 if values.dtype == bool else np.float32
    array = in_stored_order(values.astype(dtype, copy=False), grid)
    version_2 = isinstance(grid.header, nib.Nifti2Header)
    kind: Any = nib.Nifti2Image if version_2 else nib.Nifti1Image
    image = kind(array, grid.affine)
    if grid.header is not None:
        for name in GEOMETRY:
            image.header[name] = grid.header[name]
        # Or nibabel writes the affine it was given over the one copied.
        image = kind(array, None, image.header)
    else:
        image.header.set_xyzt_units("mm")
    image.header.set_data_dtype(dtype)
    write_nifti(path, image)


def write_nifti(path: Path, image: Any) -> None:
    """Write a nibabel image as .nii.gz, whole or not at all; equal images give equal bytes."""
    with (
        atomic_file(path) as partial,
        partial.open("wb") as file,
        gzip.GzipFile("", "wb", 6, file, mtime=0) as packed,
    ):
        image.to_stream(packed)


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """The file's bytes, inflated where it is gzip, whatever its suffix."""
    with open_image_file(path) as file:
        try:
            if file.peek(2)[:2] == b"\x1f\x8b":
                with gzip.GzipFile(fileobj=file) as inflated:
                    yield inflated  # type: ignore[misc]
            else:
                yield file
        except Exception as error:  # damaged files make gzip and nibabel raise nearly anything
            raise as_image_error(error) from None


def _grid(stream: IO[bytes]) -> Grid:
    """Read where voxels are; refuse by the header alone, before memory is spent on them."""
    start = stream.read(nib.Nifti2Header.sizeof_hdr)
    kind: Any = nib.Nifti2Header if start[4:6] in (b"n+", b"ni") else nib.Nifti1Header
    magic = start[4:7] if kind is nib.Nifti2Header else start[344:347]
    if magic in (b"ni1", b"ni2"):
        raise ImageError("NIfTI in two files (.hdr and .img); convert it to one .nii.gz")
    if magic not in (b"n+1", b"n+2"):
        raise ImageError("truncated file" if len(start) < 348 else "not a NIfTI file")
    header = kind(start[: kind.sizeof_hdr], check=False)
    shape = tuple(int(n) for n in header["dim"][1 : 1 + int(header["dim"][0])])
    if not 1 <= len(shape) <= 7 or min(shape) < 1:
        raise ImageError("damaged file")
    while len(shape) > 3 and shape[-1] == 1:
        shape = shape[:-1]
    sides = " x ".join(map(str, shape))
    dtype = header.get_data_dtype()
    if dtype.kind not in "iuf":
        raise ImageError("complex values" if dtype.kind == "c" else "colour volume; use grey")
    if len(shape) > 3:
        raise ImageError(f"{len(shape)}-D file ({sides}); split it into 3-D volumes")
    if len(shape) < 3 or min(shape) == 1:
        raise ImageError(f"not a volume ({sides}); convert 2-D NIfTI to PNG or TIFF")
    voxels = int(np.prod(shape, dtype=object))
    if voxels > LARGEST_VOXEL_COUNT or voxels * dtype.itemsize > LARGEST_BYTES:
        raise ImageError(f"too large ({sides}; more than {LARGEST_VOXEL_COUNT:,} voxels or 1 GiB)")
    ALL_THREADS.claim(voxels)
    if not kind.sizeof_hdr <= float(header["vox_offset"]) <= LARGEST_OFFSET:
        raise ImageError("damaged file")
    return Grid(shape, usable_affine(header.get_best_affine()), header)


def _values(stream: IO[bytes], grid: Grid) -> np.ndarray:
    dtype = grid.header.get_data_dtype()
    stream.seek(int(grid.header["vox_offset"]))
    wanted = int(np.prod(grid.shape)) * dtype.itemsize
    content = stream.read(wanted)
    if len(content) < wanted:
        raise ImageError("truncated file")
    stream.read(1)  # gzip compares its checksum when it gets to the end
    stored = np.frombuffer(content, dtype).reshape(grid.shape, order="F")
    slope, intercept = grid.header.get_slope_inter()
    with np.errstate(over="ignore", invalid="ignore"):
        if slope in (None, 1) and intercept in (None, 0):
            return stored.astype(np.float32)
        return (stored * float(slope) + float(intercept)).astype(np.float32)
