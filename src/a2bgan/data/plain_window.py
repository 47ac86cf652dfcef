"""Black and white of files that do not say what they are, decided once for a run.

An 8-bit picture usually fills its range, a deeper one seldom does. Were that decided file by file,
the same film would get one score as an 8-bit file and another as a 16-bit one.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.formats.slice_names import parse_slice

LOOKED_AT = 16
"""Number of files that are opened, evenly spread."""

PlainWindow = Literal["full", "percentile"]


def with_plain_window(config: DataConfig, paths: Sequence[Path]) -> DataConfig:
    """The same with ``plain_window`` set by what most of the files are.

    Unchanged where it is set, ``window`` is not "auto", or all files have windows of their own.
    Files that cannot be read are passed over.
    """
    if config.window != "auto" or config.plain_window is not None:
        return config
    # A volume has one window of all its voxels: its slices need not be read.
    return with_window_of_looks(config, look_at(config, paths, slices=False))


def with_window_of_arrays(config: DataConfig, types: Iterable[np.dtype]) -> DataConfig:
    """`with_plain_window` for images that are arrays, by their types; floats fill their range."""
    if config.window != "auto" or config.plain_window is not None:
        return config
    return _by_most(config, [np.dtype(np.uint8) if t.kind == "f" else t for t in types])


class Look(NamedTuple):
    """A file that stands for others: its shape and type, and whether it has its own window."""

    shape: tuple[int, ...]
    dtype: np.dtype
    windowed: bool


def look_at(config: DataConfig, paths: Sequence[Path], *, slices: bool = True) -> list[Look]:
    """Read the files that stand for all, but those that cannot be read.

    slices: of volumes, too.
    """
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(LOOKED_AT, len(paths))).astype(int))
    found = []
    for path in (paths[k] for k in chosen.tolist()):
        is_slice = parse_slice(path) is not None
        if is_slice and not slices:
            continue
        try:
            picture = read_picture(path, config.read_options)
        except (ImageError, OSError):
            continue
        windowed = is_slice or picture.window is not None
        found.append(Look(picture.values.shape, picture.values.dtype, windowed))
    return found


def with_window_of_looks(config: DataConfig, looks: Iterable[Look]) -> DataConfig:
    """`with_plain_window` by what was read already."""
    if config.window != "auto" or config.plain_window is not None:
        return config
    return _by_most(config, [look.dtype for look in looks if not look.windowed])


def _by_most(config: DataConfig, types: Sequence[np.dtype]) -> DataConfig:
    if not types:
        return config
    full = Counter(dtype == np.uint8 for dtype in types)
    plain: PlainWindow = "full" if full[True] > full[False] else "percentile"
    return config.model_copy(update={"plain_window": plain})
