"""Trivial statistics of some images of a set, as files and as the networks see them."""

import os
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.image_statistics import (
    PIXEL_STATISTICS,
    file_format,
    file_statistics,
    pixel_statistics,
)
from a2bgan.data.manifest import Row
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.measures.metrics import auroc

LOOKED_AT = 500
"""Images of a set that are looked at, drawn at random where there are more."""

SPARE = 50
"""Images drawn besides, for those that cannot be read."""


@dataclass(frozen=True, slots=True)
class FileStatistics:
    """Statistics of a file: PIXEL_STATISTICS, (8,), of its pixels as they are; FILE_STATISTICS,
    (3,); and its format."""

    original: np.ndarray
    file: np.ndarray
    format: str


@dataclass(frozen=True, slots=True)
class Measured:
    """Statistics of a file and, PIXEL_STATISTICS (8,), of the preprocessed image; and the row."""

    of_file: FileStatistics
    preprocessed: np.ndarray
    row: Row


def measure_files(
    rows: Sequence[Row], config: DataConfig, watch: Callable[[int], object] = lambda done: None
) -> list[FileStatistics | None]:
    """Measure the files of rows as they are; None for those that cannot be read.

    watch: called with the number of files measured so far, after each.
    """

    def measure(row: Row) -> FileStatistics | None:
        try:
            image = read_picture(row.path, config.read_options).values
            return FileStatistics(
                pixel_statistics(image), file_statistics(row.path, image), file_format(row.path)
            )
        except (ImageError, OSError):
            return None

    with warnings.catch_warnings(), ThreadPoolExecutor(os.cpu_count()) as pool:
        warnings.simplefilter("ignore")  # Pillow's, of damaged files
        found = []
        for done, measured in enumerate(pool.map(measure, rows), 1):
            found.append(measured)
            watch(done)
        return found


def measure_images(
    rows: Sequence[Row], config: DataConfig, watch: Callable[[int], object] = lambda done: None
) -> list[Measured]:
    """Measure the images of rows, LOOKED_AT at most, without those that cannot be read.

    No label is looked at.

    watch: see `measure_files`.
    """
    loaded, rows = load_rows(_drawn(rows), config)
    rows = rows[:LOOKED_AT]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        preprocessed = list(pool.map(_of_preprocessed, loaded.images[: len(rows)]))
    return [
        Measured(of_file, of_image, row)
        for row, of_image, of_file in zip(
            rows, preprocessed, measure_files(rows, config, watch), strict=True
        )
        if of_file is not None  # it was there a moment ago
    ]


def preprocessed_statistic(images: np.ndarray, statistic: str) -> np.ndarray:
    """One of PIXEL_STATISTICS, (N,) float64, of preprocessed images (N, C, H, W)."""
    column = PIXEL_STATISTICS.index(statistic)
    return np.array([_of_preprocessed(image)[column] for image in images], dtype=np.float64)


def best_statistic(images: np.ndarray, labels: np.ndarray) -> tuple[str, float]:
    """The one of PIXEL_STATISTICS that best tells two kinds of preprocessed images apart.

    images: (N, C, H, W); labels: (N,), both 0 and 1 among them. Returns its name and its AUROC,
    folded to [0.5, 1], which is a little too high for the best of several.
    """
    columns = np.array([_of_preprocessed(image) for image in images]).T
    aurocs = [auroc(labels, column) or 0.5 for column in columns]
    folded = [max(value, 1 - value) for value in aurocs]
    best = int(np.argmax(folded))
    return PIXEL_STATISTICS[best], folded[best]


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
