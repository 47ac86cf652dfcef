"""Grids: the places of a volume's voxels in the patient."""

from typing import Any, NamedTuple

import nibabel as nib
import numpy as np

from a2bgan.data.formats.picture import ImageError

LARGEST_VOXEL_COUNT = 2**28
"""A small file can inflate to any size: larger volumes are refused before they are read."""

LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's x runs to the left and its y to the back."""


class Grid(NamedTuple):
    """shape: (3,), as stored; affine: (4, 4), from stored indices to RAS+ in mm; header: the NIfTI
    header, None for DICOM."""

    shape: tuple[int, ...]
    affine: np.ndarray
    header: Any = None


def same_places(first: Grid, second: Grid) -> bool:
    """True where the voxels of two grids are in the same places, in any order."""
    (shape, affine), (other_shape, other_affine) = map(_canonical, (first, second))
    return shape == other_shape and np.allclose(affine, other_affine, atol=0.01)


def in_stored_order(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Values (X, Y, Z) along RAS+ axes in the order of a grid's voxels, a view of its shape."""
    stored = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.io_orientation(grid.affine)
    )
    ordered: np.ndarray = nib.orientations.apply_orientation(values, stored)
    return ordered


def usable_affine(affine: np.ndarray) -> np.ndarray:
    """The affine in double precision. Raises ImageError where it gives no orientation."""
    affine = np.asarray(affine, dtype=np.float64)
    try:
        axes = nib.orientations.io_orientation(affine)
        usable = bool(np.isfinite(affine).all() and np.isfinite(axes).all())
    except (ValueError, np.linalg.LinAlgError):
        usable = False
    if not usable or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError("no usable orientation in the header (affine)")
    return affine


def _canonical(grid: Grid) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine along the closest RAS+ axes."""
    axes = nib.orientations.io_orientation(grid.affine)
    turned = grid.affine @ nib.orientations.inv_ornt_aff(axes, grid.shape)
    shape = [0, 0, 0]
    for side, axis in zip(grid.shape, axes[:, 0], strict=True):
        shape[int(axis)] = side
    return tuple(shape), turned
