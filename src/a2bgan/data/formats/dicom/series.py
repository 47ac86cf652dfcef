"""DICOM series: a folder of files, each a slice of one volume (PS3.3 C.7.6.2, image plane)."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a2bgan.data.formats.dicom.header import read_header
from a2bgan.data.formats.dicom.pixels import fill_padding, read_with_padding
from a2bgan.data.formats.grid import LARGEST_VOXEL_COUNT, LPS_TO_RAS, Grid, usable_affine
from a2bgan.data.formats.kinds import series_files
from a2bgan.data.formats.picture import ImageError, ReadOptions, as_image_error
from a2bgan.data.formats.pixels_at_once import ALL_THREADS

# Positions may be off even steps by this share of a step, or by what rounding to a tenth of a
# millimetre does; spacings may differ by this share.
UNEVEN = 0.05
ROUNDED_POSITION = 0.101
ROUNDED = 1e-4

# Elements that say where a slice is.
PLACE = (
    "SeriesInstanceUID", "Rows", "Columns", "ImageOrientationPatient", "PixelSpacing",
    "ImagePositionPatient",
)  # fmt: skip


def read_series(folder: Path) -> tuple[np.ndarray, Grid, bool]:
    """Read the voxels of a folder's series, float32, where they are, and whether compression has
    changed any.

    Padding becomes the least value of the whole series. Raises ImageError as `series_grid` does.
    """
    grid, files = series_grid(folder)
    values = np.empty(grid.shape, dtype=np.float32)
    outside = np.zeros(grid.shape, dtype=bool)
    lossy = False
    for k, path in enumerate(files):
        picture, padding = read_with_padding(path, ReadOptions(LARGEST_VOXEL_COUNT, "fixed"))
        if picture.values.ndim == 3:
            raise ImageError(f"colour slices in the series; use grey ({_shown(path)})")
        values[..., k] = picture.values.T
        lossy |= picture.lossy
        if padding is not None:
            outside[..., k] = padding.T
    fill_padding(values, outside)
    return values, grid, lossy


def series_grid(folder: Path) -> tuple[Grid, list[Path]]:
    """Read the grid of a folder's series from headers, and its files by position.

    Files without pixels (a dose report) and localizers are left out where others are left. The
    grid's axes are columns, rows and files. Viewers round what they write: positions may be off
    even steps by `UNEVEN` of a step or 0.1 mm, spacings differ by `ROUNDED`. Raises ImageError,
    with the name of the file that does not fit.
    """
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
    ALL_THREADS.claim(columns * rows * len(placed))
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
    grid = Grid((*first.shape, len(placed)), usable_affine(LPS_TO_RAS @ affine))
    return grid, [one.path for one in placed]


def left_out_of_series(folder: Path) -> list[str]:
    """Names of the DICOM files in a folder that are not slices of its series. Raises ImageError."""
    used = {path.name for path in series_grid(folder)[1]}
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
