"""Volumes as slices: NIfTI files, and DICOM series as folders.

A volume is turned to its closest RAS+ axes (x to the patient's right, y anterior, z superior), so
that slices of an orientation look alike whatever order a file stores its voxels in. Slices are
shown as radiologists do: anterior or superior up, the patient's right on the left; sagittal ones
face left.

Standards: NIfTI-1 and NIfTI-2 (nifti.nimh.nih.gov); DICOM PS3.3 C.7.6.2 (image plane).
"""

import gzip
import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

import nibabel as nib
import numpy as np
from PIL import Image

from a2bgan.data.formats.enhanced_dicom import enhanced_grid, read_enhanced
from a2bgan.data.formats.kinds import is_enhanced, series_files
from a2bgan.data.formats.picture import (
    ImageError,
    Picture,
    ReadOptions,
    as_image_error,
    check_size,
    mask_threshold,
    open_image_file,
)
from a2bgan.data.formats.slice_names import AXES
from a2bgan.files.atomic import atomic_file

# A small file can inflate to any size: what its header promises is limited before it is read.
LARGEST_VOXEL_COUNT = 2**28
LARGEST_BYTES = 2**30
LARGEST_OFFSET = 2**24

# Percentiles of larger volumes are those of every second voxel, or every third, ...
VOXELS_MEASURED = 2**24

# A voxel is background in the lowest tenth of the way from the 0.5th to the 99.5th percentile.
BACKGROUND = 0.1

# Positions of a DICOM series may be off even steps by this share of a step, or by what rounding to
# a tenth of a millimetre does; spacings may differ by this share.
UNEVEN = 0.05
ROUNDED_POSITION = 0.101
ROUNDED = 1e-4

# What a slice must say of where it is.
PLACE = (
    "SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing",
    "ImagePositionPatient",
)  # fmt: skip

# Volumes that are kept after reading: slices come in order, a few threads apart.
KEPT = 2

# What a NIfTI header says of where voxels are; the rest can name a patient.
GEOMETRY = (
    "pixdim", "xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d",
    "qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z",
)  # fmt: skip


class Grid(NamedTuple):
    """Where voxels are. shape: (3,), as stored; affine: (4, 4), from stored indices to RAS+ in mm;
    header: the NIfTI header, None for DICOM."""

    shape: tuple[int, ...]
    affine: np.ndarray
    header: Any = None


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
    """Where a volume's voxels are, from headers alone. Raises ImageError."""
    if os.path.isdir(path):
        return read_series(path)[0]
    if is_enhanced(path):
        return Grid(*enhanced_grid(path, LARGEST_VOXEL_COUNT))
    with _nifti_stream(path) as stream:
        return _nifti_grid(stream)


def same_places(first: Grid, second: Grid) -> bool:
    """Whether the voxels of two grids are in the same places, in whatever order."""
    (shape, affine), (other_shape, other_affine) = map(_canonical, (first, second))
    return shape == other_shape and np.allclose(affine, other_affine, atol=0.01)


def read_volume(path: Path) -> Volume:
    """Read a volume, or take it from the few that were read last.

    Raises ImageError: 4-D or 2-D, complex or colour, NaN or infinite values, truncated, no usable
    orientation, too large, constant, files of several series, missing slices.
    """
    volume = _RECENT.volume(path)
    if volume.constant:
        raise ImageError("constant image")
    return volume


def forget_volumes() -> None:
    """Free the memory of the volumes that were read last."""
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
    volume = _RECENT.volume(path)
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
    """Where a slice is in a volume (X, Y, Z) along RAS+ axes."""
    return tuple(index if k == AXES.index(axis) else slice(None) for k in range(3))


def as_voxels(picture: np.ndarray, axis: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reverse of `read_slice`: a picture (H, W) with square pixels as float32 values of the
    voxels of a slice, in a volume of the shape (X, Y, Z) along RAS+ axes."""
    across, up = _in_plane(axis)
    return _resize(picture, shape[up], shape[across]).T[::-1, ::-1]


def _in_plane(axis: str) -> tuple[int, int]:
    """Which of the RAS+ axes go across and up in an axis's slices."""
    across, up = (k for k in range(3) if k != AXES.index(axis))
    return across, up


def in_stored_order(values: np.ndarray, grid: Grid) -> np.ndarray:
    """Values (X, Y, Z) along RAS+ axes in the order of a grid's voxels, a view of its shape."""
    stored = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.io_orientation(grid.affine)
    )
    ordered: np.ndarray = nib.orientations.apply_orientation(values, stored)
    return ordered


def write_map(path: Path, values: np.ndarray, grid: Grid) -> None:
    """Write values (X, Y, Z) along RAS+ axes as NIfTI in the voxels of `grid`: bool as uint8, all
    others as float32.

    Of its header only the geometry is copied. Raises OSError.
    """
    dtype = np.uint8 if values.dtype == bool else np.float32
    array = in_stored_order(values.astype(dtype, copy=False), grid)
    kind = nib.Nifti1Image if grid.header is None else _image_class(grid.header)
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


class _Recent:
    """The volumes read last. Threads that want one that is being read wait for it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int, int], Future[Volume]] = OrderedDict()

    def volume(self, path: Path) -> Volume:
        try:
            status = os.stat(path)
        except (OSError, ValueError):
            raise ImageError("missing file") from None
        key = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
        with self._lock:
            future = self._kept.get(key)
            mine = future is None
            if future is None:
                future = self._kept[key] = Future()
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
        if mine:
            try:
                future.set_result(_read(path))
            except BaseException as error:
                future.set_exception(error)
                with self._lock:
                    self._kept.pop(key, None)
        return future.result()

    def clear(self) -> None:
        with self._lock:
            self._kept.clear()


_RECENT = _Recent()


def _read(path: Path) -> Volume:
    if os.path.isdir(path):
        grid, files = read_series(path)
        values, lossy = _series_values(files, grid)
    elif is_enhanced(path):
        values, affine = read_enhanced(path, LARGEST_VOXEL_COUNT)
        grid, lossy = Grid(values.shape, affine), False
    else:
        with _nifti_stream(path) as stream:
            grid = _nifti_grid(stream)
            values, lossy = _nifti_values(stream, grid), False
    if not np.isfinite(values).all():
        raise ImageError("NaN or infinite values")
    constant = bool(values.min() == values.max())
    canonical = nib.as_closest_canonical(nib.Nifti1Image(values, grid.affine))
    spacing = nib.affines.voxel_sizes(canonical.affine)
    turned = np.asanyarray(canonical.dataobj)
    return Volume(turned, tuple(float(s) for s in spacing), lossy, constant)


def _canonical(grid: Grid) -> tuple[tuple[int, ...], np.ndarray]:
    """Shape and affine along the closest RAS+ axes."""
    axes = nib.orientations.io_orientation(grid.affine)
    turned = grid.affine @ nib.orientations.inv_ornt_aff(axes, grid.shape)
    shape = [0, 0, 0]
    for side, axis in zip(grid.shape, axes[:, 0], strict=True):
        shape[int(axis)] = side
    return tuple(shape), turned


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


@contextmanager
def _nifti_stream(path: Path) -> Iterator[IO[bytes]]:
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


def _nifti_grid(stream: IO[bytes]) -> Grid:
    """Where voxels are; refuses by the header alone, before memory is spent on them."""
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
    if not kind.sizeof_hdr <= float(header["vox_offset"]) <= LARGEST_OFFSET:
        raise ImageError("damaged file")
    return Grid(shape, _usable(header.get_best_affine()), header)


def _nifti_values(stream: IO[bytes], grid: Grid) -> np.ndarray:
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


def _usable(affine: np.ndarray) -> np.ndarray:
    affine = np.asarray(affine, dtype=np.float64)
    try:
        axes = nib.orientations.io_orientation(affine)
        usable = bool(np.isfinite(affine).all() and np.isfinite(axes).all())
    except (ValueError, np.linalg.LinAlgError):
        usable = False
    if not usable or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise ImageError("no usable orientation in the header (affine)")
    return affine


def _image_class(header: Any) -> Any:
    return nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image


def read_series(folder: Path) -> tuple[Grid, list[Path]]:
    """The grid of a folder's DICOM series, from headers, and its files by position.

    What is no slice is left out: files without pixels (a dose report) and localizers, where others
    are left. The grid's axes are columns, rows and files. Viewers round what they write: positions
    may be off even steps by `UNEVEN` of a step or 0.1 mm, spacings differ by `ROUNDED`. Raises
    ImageError, with the name of the file that does not fit.
    """
    from a2bgan.data.formats.dicom_header import read_header

    try:
        files = series_files(folder)
    except OSError as error:
        raise as_image_error(error) from None
    if not files:
        raise ImageError("a folder without DICOM files")
    headers = [(path, read_header(path)) for path in files]
    slices = [(path, h) for path, h in headers if "Rows" in h and not _is_localizer(h)]
    placed = [_placed(path, header) for path, header in slices or headers]
    first = placed[0]
    for one in placed:
        if one.series != first.series:
            raise ImageError(f"files of several series in the folder ({_shown(one.path)})")
        same = (
            one.shape == first.shape
            and np.allclose(one.directions, first.directions, atol=1e-3)
            and np.allclose(one.spacing, first.spacing, rtol=ROUNDED)
        )
        if not same:
            raise ImageError(f"slices of several sizes or directions ({_shown(one.path)})")
    if len(placed) < 2:
        raise ImageError("one slice only, not a volume")
    columns, rows = first.shape
    if columns * rows * len(placed) > LARGEST_VOXEL_COUNT:
        raise ImageError(f"too large (more than {LARGEST_VOXEL_COUNT:,} voxels)")
    along = np.cross(*first.directions)
    placed.sort(key=lambda one: float(along @ one.position))
    heights = np.array([float(along @ one.position) for one in placed])
    steps = np.diff(heights)
    step = float(np.median(steps))
    uneven = np.abs(steps - step).max() > max(UNEVEN * step, min(ROUNDED_POSITION, step / 4))
    if steps.min() <= 0 or uneven:
        worst = placed[int(np.abs(steps - step).argmax()) + 1]
        raise ImageError(f"missing, doubled or unevenly spaced slices ({_shown(worst.path)})")
    affine = np.eye(4)
    affine[:3, 0] = first.directions[0] * first.spacing[1]
    affine[:3, 1] = first.directions[1] * first.spacing[0]
    affine[:3, 2] = (placed[-1].position - placed[0].position) / (len(placed) - 1)
    affine[:3, 3] = placed[0].position
    # DICOM's x runs to the left and its y to the back.
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
    return Grid((*first.shape, len(placed)), _usable(affine)), [one.path for one in placed]


def left_out_of_series(folder: Path) -> list[str]:
    """Names of DICOM files in a folder that are no slices of its series. Raises ImageError."""
    used = {path.name for path in read_series(folder)[1]}
    return [path.name for path in series_files(folder) if path.name not in used]


class _Placed(NamedTuple):
    """A slice. shape: columns, rows; directions: (2, 3) of rows and columns; spacing: between rows
    and columns, mm; position: (3,) mm."""

    path: Path
    series: str
    shape: tuple[int, int]
    directions: np.ndarray
    spacing: tuple[float, float]
    position: np.ndarray


def _placed(path: Path, header: Any) -> _Placed:
    missing = [name for name in PLACE if header.get(name) in (None, "")]
    if missing:
        raise ImageError(f"{missing[0]} is missing ({_shown(path)})")
    try:
        directions = np.array([float(v) for v in header.ImageOrientationPatient]).reshape(2, 3)
        between_rows, between_columns = (float(v) for v in header.PixelSpacing)
        position = np.array([float(v) for v in header.ImagePositionPatient])
        if position.shape != (3,) or not np.isfinite([*directions.flat, *position]).all():
            raise ValueError
    except (TypeError, ValueError):
        raise ImageError(f"no usable position in the patient ({_shown(path)})") from None
    shape = (int(header.Columns), int(header.Rows))
    spacing = (between_rows, between_columns)
    return _Placed(path, str(header.SeriesInstanceUID), shape, directions, spacing, position)


def _is_localizer(header: Any) -> bool:
    kind = header.get("ImageType") or ()
    return "LOCALIZER" in ([kind] if isinstance(kind, str) else list(kind))


def _shown(path: Path) -> str:
    """A file's name, shortened: archives put a patient's number into long ones."""
    return path.name if len(path.name) <= 24 else f"{path.name[:21]}..."


def _series_values(files: Sequence[Path], grid: Grid) -> tuple[np.ndarray, bool]:
    """The voxels, and whether lossy compression has changed any.

    Padding becomes the least value of the whole series.
    """
    from a2bgan.data.formats.dicom import fill_padding, read_with_padding

    values = np.empty(grid.shape, dtype=np.float32)
    outside = np.zeros(grid.shape, dtype=bool)
    lossy = False
    for k, path in enumerate(files):
        picture, padding = read_with_padding(path, ReadOptions(LARGEST_VOXEL_COUNT, "fixed"))
        image = picture.values
        lossy |= picture.lossy
        if image.ndim == 3:
            raise ImageError(f"colour slices in the series; use grey ({_shown(path)})")
        values[..., k] = image.T
        if padding is not None:
            outside[..., k] = padding.T
    fill_padding(values, outside)
    return values, lossy
