"""Trivial statistics of some images of a set, as files and as the networks see them."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.cache import load_images
from a2bgan.data.image_statistics import (
    PIXEL_STATISTICS,
    file_format,
    file_statistics,
    pixel_statistics,
)
from a2bgan.data.manifest import Row
from a2bgan.data.preprocessing import DataConfig
from a2bgan.data.readers import ImageError, read_picture

LOOKED_AT = 500
"""Images of a set that are looked at, drawn at random where there are more."""

SPARE = 50
"""Images drawn besides, for those that cannot be read."""


@dataclass(frozen=True, slots=True)
class Measured:
    """One image: (C, H, W) preprocessed, and the statistics of it and of its file.

    preprocessed, original: PIXEL_STATISTICS, (8,), of the image and of the file's pixels as they
        are. file: FILE_STATISTICS, (3,).
    """

    image: np.ndarray
    preprocessed: np.ndarray
    original: np.ndarray
    file: np.ndarray
    format: str
    patient: str


def measure_images(
    rows: Sequence[Row], config: DataConfig, cache_dir: Path | None = None
) -> list[Measured]:
    """Measure the images of rows, LOOKED_AT at most, without those that cannot be read.

    No label is looked at. Raises InputError for the cache folder only.
    """
    rows = _drawn(rows)
    loaded = load_images([row.path for row in rows], [row.name for row in rows], config, cache_dir)
    places = range(min(len(loaded.index), LOOKED_AT))

    def measure(place: int) -> Measured | None:
        row = rows[loaded.index[place]]
        try:
            image = read_picture(row.path, config.reading).values
            file = file_statistics(row.path, image)
        except (ImageError, OSError):
            return None  # it was there a moment ago
        return Measured(
            loaded.images[place],
            _of_preprocessed(loaded.images[place]),
            pixel_statistics(image),
            file,
            file_format(row.path),
            row.patient_id,
        )

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of damaged files
        return [item for item in pool.map(measure, places) if item is not None]


def preprocessed_statistic(images: np.ndarray, statistic: str) -> np.ndarray:
    """One of PIXEL_STATISTICS of preprocessed images (N, C, H, W): (N,) float64."""
    column = PIXEL_STATISTICS.index(statistic)
    return np.array([_of_preprocessed(image)[column] for image in images], dtype=np.float64)


def _drawn(rows: Sequence[Row]) -> Sequence[Row]:
    """LOOKED_AT of the rows at random, in order, and SPARE others behind them."""
    if len(rows) <= LOOKED_AT:
        return rows
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(len(rows), LOOKED_AT, replace=False))
    others = np.setdiff1d(np.arange(len(rows)), drawn)
    spare = rng.choice(others, min(SPARE, len(others)), replace=False)
    return [rows[i] for i in (*drawn.tolist(), *spare.tolist())]


def _of_preprocessed(image: np.ndarray) -> np.ndarray:
    return pixel_statistics(np.moveaxis(image, 0, -1))
