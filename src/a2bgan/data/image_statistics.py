"""Trivial statistics of an image, which tell two sources of images apart without any disease."""

from pathlib import Path

import numpy as np

from a2bgan.data.formats.kinds import image_suffix
from a2bgan.data.formats.slice_names import volume_of

PIXEL_STATISTICS = (
    "mean brightness",
    "contrast (sd)",
    "sharpness",
    "border brightness",
    "black share",
    "white share",
    "marks in corners",
    "sharpness of corners",
)
FILE_STATISTICS = ("aspect ratio", "pixel count", "bytes per pixel")

BORDER = 0.05
"""Share of each side, at every edge, that counts as border."""

CORNER = 0.2
"""Share of each side that a corner takes up."""


def pixel_statistics(image: np.ndarray) -> np.ndarray:
    """PIXEL_STATISTICS of one image, (8,) float64.

    image: (H, W) or (H, W, 3), of which the channels are averaged. Integers are scaled to [0, 1] by
    the range of their type, floats are taken as they are.

    Sharpness is the spread of the Laplacian over that of the image. Black and white: the share of
    pixels within 1 % of the range from its ends. Marks in corners: how much of the brightest 1 % of
    the pixels lies there. Sharpness of corners: root mean square of the Laplacian there, over that
    of the whole image. The last two do not depend on exposure.
    """
    from scipy.ndimage import laplace  # takes a while

    values = scaled(image)
    if image.dtype.kind == "f":
        values = values.astype(np.float64)  # differences may leave the range of single precision
    if values.ndim == 3:
        values = values.mean(axis=2)
    height, width = values.shape
    low, high = float(values.min()), float(values.max())
    margin = 0.01 * (high - low)
    sd = float(values.std(dtype=np.float64)) or 1.0
    edges = laplace(values)
    frame = np.ones(values.shape, dtype=bool)
    y, x = max(1, round(BORDER * height)), max(1, round(BORDER * width))
    frame[y : height - y, x : width - x] = False
    corners = _corners(values)
    bright = np.percentile(values, 99, method="lower")
    bright_in_corners = sum(int((corner >= bright).sum()) for corner in corners)
    # Taken in each corner by itself: a blackened one is then flat to its last pixel.
    corner_edges = np.concatenate([laplace(corner).ravel() for corner in corners])
    found = (
        values.mean(dtype=np.float64),
        sd,
        edges.std(dtype=np.float64) / sd,
        values[frame].mean(dtype=np.float64),
        (values <= low + margin).mean(),
        (values >= high - margin).mean(),
        bright_in_corners / int((values >= bright).sum()),
        _root_mean_square(corner_edges) / (_root_mean_square(edges) or 1.0),
    )
    # Equal histograms have equal means whatever the order of summation.
    return np.round(np.array(found, dtype=np.float64), 7)


def scaled(images: np.ndarray) -> np.ndarray:
    """Integers scaled to [0, 1] by the range of their type, float32; floats as they are."""
    if not np.issubdtype(images.dtype, np.integer):
        return images
    shares: np.ndarray = images.astype(np.float32) / np.float32(np.iinfo(images.dtype).max)
    return shares


def file_statistics(path: Path, image: np.ndarray) -> np.ndarray:
    """FILE_STATISTICS, (3,) float64, of the file that `image` (H, W, ...) was read from.

    Raises OSError if the file has gone.
    """
    height, width = image.shape[:2]
    size = Path(volume_of(path)).stat().st_size
    return np.array([width / height, width * height, size / (width * height)])


def file_format(path: Path) -> str:
    """The format as its suffix names it: .jpeg is .jpg, .tiff is .tif."""
    suffix = image_suffix(Path(volume_of(path)))
    return {".jpeg": ".jpg", ".tiff": ".tif"}.get(suffix, suffix)


def _corners(values: np.ndarray) -> list[np.ndarray]:
    height, width = values.shape
    y, x = max(1, round(CORNER * height)), max(1, round(CORNER * width))
    return [
        values[rows, columns]
        for rows in (slice(y), slice(height - y, None))
        for columns in (slice(x), slice(width - x, None))
    ]


def _root_mean_square(values: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64))))
