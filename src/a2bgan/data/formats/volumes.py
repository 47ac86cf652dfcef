"""Volumes as slices: NIfTI files, DICOM series as folders, and enhanced DICOM files.

A volume is turned to its closest RAS+ axes (x to the patient's right, y anterior, z superior), so
that slices of an orientation look alike whatever order a file stores its voxels in. Slices are
shown as radiologists do: anterior or superior up, the patient's right on the left; sagittal ones
face left.
"""

import os
import threading
from collections import OrderedDict
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image

from a2bgan.data.formats.dicom.enhanced import enhanced_grid, read_enhanced
from a2bgan.data.formats.grid import Grid
from a2bgan.data.formats.kinds import is_enhanced
from a2bgan.data.formats.nifti import read_nifti, read_nifti_grid
from a2bgan.data.formats.picture import ImageError, Picture, ReadOptions, check_size, mask_threshold
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.slice_names import AXES

VOXELS_MEASURED = 2**24
"""Percentiles of larger volumes are those of every second voxel, or every third, ..."""

BACKGROUND = 0.1
"""A voxel is background in this lowest part of the way from the 0.5th to the 99.5th percentile."""

KEPT = 2
"""Volumes that are kept after reading: slices come in order, a few threads apart."""


@dataclass(frozen=True)
class Volume:
    """values: float32 (X, Y, Z), finite, along the closest RAS+ axes; spacing: mm along each;
    lossy: whether compression has changed the values; constant: whether all are equal, as they may
    be in a mask."""

    values: np.ndarray
    spacing: tuple[float, ...]
    lossy: bool = False
    constant: bool = False
    _percentiles: dict[tuple[float, float], tuple[float, float]] = field(default_factory=dict)

    def percentiles(self, percents: tuple[float, float]) -> tuple[float, float]:
        """Two percentiles of all voxels; the extremes where they are equal."""
        if percents not in self._percentiles:
            flat = self.values.ravel(order="K")
            step = -(-flat.size // VOXELS_MEASURED)
            low, high = np.percentile(flat[::step], percents)
            if not low < high:
                low, high = flat.min(), flat.max()
            self._percentiles[percents] = float(low), float(high)
        return self._percentiles[percents]


def read_grid(path: Path) -> Grid:
    """Read where a volume's voxels are, from headers alone. Raises ImageError."""
    if os.path.isdir(path):
        from a2bgan.data.formats.dicom.series import series_grid

        return series_grid(path)[0]
    return enhanced_grid(path) if is_enhanced(path) else read_nifti_grid(path)


def read_volume(path: Path) -> Volume:
    """Read a volume, or take it from the few that were read last.

    Raises ImageError: 4-D or 2-D, complex or colour, NaN or infinite values, truncated, no usable
    orientation, too large, constant, files of several series, missing slices.
    """
    volume = _recent_volume(path)
    if volume.constant:
        raise ImageError("constant image")
    return volume


def forget_volumes() -> None:
    """Free the memory of the volumes that were read last."""
    with _LOCK:
        _RECENT.clear()


def chosen_slices(
    volume: Volume, axis: str, between: tuple[float, float], skip_empty: float
) -> list[int]:
    """Places along an axis whose slices are used.

    between: their centres lie in this part of the axis, each in [0, 1]; skip_empty: at least this
    share of their pixels is not background.
    """
    along = AXES.index(axis)
    count = volume.values.shape[along]
    centres = (np.arange(count) + 0.5) / count
    used = (centres >= between[0]) & (centres <= between[1])
    if skip_empty:
        low, high = volume.percentiles((0.5, 99.5))
        others = tuple(k for k in range(3) if k != along)
        used &= (volume.values > low + BACKGROUND * (high - low)).mean(others) >= skip_empty
    return [int(k) for k in np.flatnonzero(used)]


def read_slice(path: Path, axis: str, index: int, options: ReadOptions) -> Picture:
    """One slice of a volume as an image, float32 (H, W), with square pixels.

    The side of a pixel is the smaller of the two spacings; the other direction is interpolated
    linearly. The window is that of the whole volume: percentiles for "auto" and "percentile",
    extremes for "full", none of its own for "fixed". Raises ImageError.
    """
    volume = read_volume(path)
    plane = _plane(volume, axis, index)
    height, width = square_pixel_shape(volume, axis)
    check_size(width, height, options.max_pixels)
    return Picture(_resize(plane, height, width), _window(volume, options))


def read_mask_slice(path: Path, axis: str, index: int) -> np.ndarray:
    """One slice of a mask, float32 (H, W), 1 in lesions; each pixel is its nearest voxel."""
    volume = _recent_volume(path)
    height, width = square_pixel_shape(volume, axis)
    # By the volume's largest value: a slice may be without lesion.
    low, high = volume.percentiles((0, 100))
    lesion = np.abs(_plane(volume, axis, index)) > mask_threshold(max(-low, high), volume.lossy)
    return _resize(lesion, height, width, Image.Resampling.NEAREST)


def pixel_side(volume: Volume, axis: str) -> float:
    """Side of a square pixel of an axis's slices in mm."""
    across, up = _in_plane(axis)
    return min(volume.spacing[across], volume.spacing[up])


def square_pixel_shape(volume: Volume, axis: str) -> tuple[int, int]:
    """Height and width of an axis's slices once their pixels are square."""
    across, up = _in_plane(axis)
    side, shape = pixel_side(volume, axis), volume.values.shape
    return (
        max(1, round(shape[up] * volume.spacing[up] / side)),
        max(1, round(shape[across] * volume.spacing[across] / side)),
    )


def slice_at(axis: str, index: int) -> tuple[int | slice, ...]:
    """Index of a slice in a volume (X, Y, Z) along RAS+ axes."""
    return tuple(index if k == AXES.index(axis) else slice(None) for k in range(3))


def as_voxels(picture: np.ndarray, axis: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reverse of `read_slice`: a picture (H, W) with square pixels as float32 values of the
    voxels of a slice, in a volume of the shape (X, Y, Z) along RAS+ axes."""
    across, up = _in_plane(axis)
    return _resize(picture, shape[up], shape[across]).T[::-1, ::-1]


def _in_plane(axis: str) -> tuple[int, int]:
    """The RAS+ axes that go across and up in an axis's slices."""
    across, up = (k for k in range(3) if k != AXES.index(axis))
    return across, up


_LOCK = threading.Lock()
_RECENT: OrderedDict[tuple[str, int, int], Future[Volume]] = OrderedDict()


def _recent_volume(path: Path) -> Volume:
    """Read a volume, or wait for a thread that is reading it, or take one that was read last."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        raise ImageError("missing file") from None
    key = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
    with _LOCK:
        mine = key not in _RECENT
        future = _RECENT.setdefault(key, Future())
        _RECENT.move_to_end(key)
        while len(_RECENT) > KEPT:
            _RECENT.popitem(last=False)
    if mine:
        try:
            with ALL_THREADS.one_image():
                future.set_result(_read(path))
        except BaseException as error:
            future.set_exception(error)
            with _LOCK:
                _RECENT.pop(key, None)
    return future.result()


def _read(path: Path) -> Volume:
    lossy = False
    if os.path.isdir(path):
        from a2bgan.data.formats.dicom.series import read_series  # pydicom takes a while

        values, grid, lossy = read_series(path)
    else:
        values, grid = read_enhanced(path) if is_enhanced(path) else read_nifti(path)
    if not np.isfinite(values).all():
        raise ImageError("NaN or infinite values")
    constant = bool(values.min() == values.max())
    canonical = nib.as_closest_canonical(nib.Nifti1Image(values, grid.affine))
    spacing = nib.affines.voxel_sizes(canonical.affine)
    turned = np.asanyarray(canonical.dataobj)
    return Volume(turned, tuple(float(s) for s in spacing), lossy, constant)


def _window(volume: Volume, options: ReadOptions) -> tuple[float, float] | None:
    if options.window == "voi":
        raise ImageError("no window in the file, which data.window=voi needs")
    if options.window == "fixed":
        return None
    return volume.percentiles((0, 100) if options.window == "full" else options.percents)


def _plane(volume: Volume, axis: str, index: int) -> np.ndarray:
    along = AXES.index(axis)
    if index >= volume.values.shape[along]:
        raise ImageError(f"no slice {index} ({axis}; there are {volume.values.shape[along]})")
    # Up: anterior or superior. Left: the patient's right, or anterior.
    plane: np.ndarray = np.take(volume.values, index, axis=along)[::-1, ::-1].T
    return plane


def _resize(
    plane: np.ndarray,
    height: int,
    width: int,
    resampling: Image.Resampling = Image.Resampling.BILINEAR,
) -> np.ndarray:
    plane = np.ascontiguousarray(plane, dtype=np.float32)
    if plane.shape == (height, width):
        return plane
    return np.array(Image.fromarray(plane).resize((width, height), resampling))
