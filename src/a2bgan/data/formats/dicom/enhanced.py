"""Enhanced CT, MR and PET: one DICOM file that holds a whole volume, a frame for each slice."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from a2bgan.data.formats.dicom.quiet import quiet_pydicom
from a2bgan.data.formats.grid import LARGEST_VOXEL_COUNT, LPS_TO_RAS, Grid
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.errors import not_installed

READABLE = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, RLELossless,
)  # fmt: skip
"""Transfer syntaxes in which a frame that is cut cannot pass for a whole one."""

UNEVEN = "its frames are no even stack of parallel slices"


@quiet_pydicom()
def enhanced_grid(path: Path) -> Grid:
    """Read the grid (slices, rows, columns), without the pixels. Raises ImageError as
    `read_enhanced` does."""
    geometry = _stack(_open(path).get_volume_geometry)
    if geometry is None:
        raise ImageError(UNEVEN)
    return Grid(tuple(geometry.spatial_shape), LPS_TO_RAS @ np.asarray(geometry.affine))


@quiet_pydicom()
def read_enhanced(path: Path) -> tuple[np.ndarray, Grid]:
    """Read values, float32 (slices, rows, columns), after the modality's rescaling, and their grid.

    Raises ImageError: several stacks, slices that are missing, uneven or not parallel, a
    compression that is not read, too many voxels, a damaged file.
    """
    image = _open(path)
    volume = _stack(lambda: image.get_volume(dtype=np.float32, apply_real_world_transform=False))
    values: np.ndarray = np.asarray(volume.array, dtype=np.float32)
    return values, Grid(values.shape, LPS_TO_RAS @ np.asarray(volume.affine))


def _open(path: Path) -> Any:
    """Open the file with highdicom, once its header allows reading."""
    try:
        import highdicom  # takes a while, and few need it
    except ImportError:
        raise PassingImageError(str(not_installed("highdicom", "dicom"))) from None

    try:
        image = highdicom.imread(path)
    except Exception:  # a damaged header raises anything
        raise ImageError("damaged file, or no image with several frames") from None
    if image.file_meta.TransferSyntaxUID not in READABLE:
        raise ImageError("compressed frames of a volume are not read; decompress the file")
    count = int(image.NumberOfFrames) * int(image.Rows) * int(image.Columns)
    if count > LARGEST_VOXEL_COUNT:
        raise ImageError(f"too large (more than {LARGEST_VOXEL_COUNT:,} voxels)")
    ALL_THREADS.claim(count)
    if int(image.get("SamplesPerPixel", 1)) != 1:
        raise ImageError("colour volume")
    expected = count * int(image.BitsAllocated) // 8
    if image.file_meta.TransferSyntaxUID != RLELossless and len(image.PixelData) < expected:
        raise ImageError("truncated file")
    return image


def _stack(read: Callable[[], Any]) -> Any:
    try:
        return read()
    except MemoryError:
        raise
    except Exception:  # what it raises says more of the standard than of the file
        raise ImageError(UNEVEN) from None
