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

from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.quiet_pydicom import quiet_pydicom

READABLE = (
    ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian,
    DeflatedExplicitVRLittleEndian, RLELossless,
)  # fmt: skip
"""Transfer syntaxes in which a frame that is cut cannot pass for a whole one."""

UNEVEN = "its frames are no even stack of parallel slices"

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@quiet_pydicom()
def enhanced_grid(path: Path, most_voxels: int) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape (slices, rows, columns) and the affine (4, 4) from indices to RAS+ in mm, without the
    pixels.

    Raises ImageError as `read_enhanced` does.
    """
    geometry = _stack(_open(path, most_voxels).get_volume_geometry)
    if geometry is None:
        raise ImageError(UNEVEN)
    return tuple(geometry.spatial_shape), LPS_TO_RAS @ np.asarray(geometry.affine)


@quiet_pydicom()
def read_enhanced(path: Path, most_voxels: int) -> tuple[np.ndarray, np.ndarray]:
    """Values, float32 (slices, rows, columns), after the modality's rescaling, and the affine
    (4, 4) from their indices to RAS+ in mm.

    Raises ImageError: several stacks, slices that are missing, uneven or not parallel, a
    compression that is not read, more than `most_voxels`, a damaged file.
    """
    image = _open(path, most_voxels)
    volume = _stack(lambda: image.get_volume(dtype=np.float32, apply_real_world_transform=False))
    values: np.ndarray = np.asarray(volume.array, dtype=np.float32)
    return values, LPS_TO_RAS @ np.asarray(volume.affine)


def _open(path: Path, most_voxels: int) -> Any:
    """The file as highdicom has it, once its header allows reading."""
    import highdicom  # takes a while, and few need it

    try:
        image = highdicom.imread(path)
    except Exception:  # a damaged header raises anything
        raise ImageError("damaged file, or no image with several frames") from None
    if image.file_meta.TransferSyntaxUID not in READABLE:
        raise ImageError("compressed frames of a volume are not read; decompress the file")
    count = int(image.NumberOfFrames) * int(image.Rows) * int(image.Columns)
    if count > most_voxels:
        raise ImageError(f"too large (more than {most_voxels:,} voxels)")
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
