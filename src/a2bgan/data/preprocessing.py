"""Preprocess images of any size and depth to the fixed-size arrays that networks see."""

from functools import lru_cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.reading import read_mask, read_picture
from a2bgan.data.resampling import resize

# ITU-R BT.601, the weights Pillow uses for its own conversion to grey.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)

_COUNTED_TOGETHER = 2**17
"""Pixels of a histogram counted at a time; as the integers that counting needs they fit a cache."""


def preprocess(
    image: np.ndarray, config: DataConfig, window: tuple[float, float] | None = None
) -> np.ndarray:
    """Bring one image, as `read_picture` returns it, to (channels, size, size).

    image: (H, W) or (H, W, 3); uint8, uint16 or float32, finite.
    window: the file's own, which comes before the one of the configuration.
    Returns uint8 in [0, 255] or, for depth 16, uint16 in [0, 65535].

    Steps: reduce channels, crop the top, make square, window to [0, 1], clahe, resize (Lanczos with
    antialiasing), equalize or standardize, quantise, blacken border and corners, add the black
    borders of "pad". Limits, mean and histogram are those of what is not blackened. Raises
    ImageError when cropping, blackening or windowing leaves a constant, or memory is short.
    """
    try:
        return _preprocess(image, config, window)
    except MemoryError:
        raise PassingImageError("not enough memory") from None


def _preprocess(
    image: np.ndarray, config: DataConfig, window: tuple[float, float] | None
) -> np.ndarray:
    region = _region(_reduce_channels(image, config.channels), config)
    shape = _resized_shape(region.shape[0], region.shape[1], config)
    visible = _visible(region.shape[0], region.shape[1], config)
    shown = region if visible.all() else region[visible]
    low, high = _window_limits(shown, config) if window is None else window
    kept = _visible(*shape, config)
    if region.dtype == np.uint8 and (low, high) == (0, 255) and _is_plain_8_bit(config):
        content = region
        if region.shape[:2] != shape:
            content = np.rint(resize(region, shape)).clip(0, 255).astype(np.uint8)
        pixels = levels = content[kept]
    else:
        if low == high:
            raise ImageError("constant image after crop and window")
        if config.clahe:
            values = _apply_window(region, low, high)
            values[~visible] = 0
            content = resize(_equalize_locally(values, config.clahe), shape)
        elif region.dtype.kind == "f":
            content = resize(region, shape, partial(_apply_window, low=low, high=high))
        else:
            # Resizing is linear: what is linear in the window can wait until pixels are few.
            content = resize(region, shape, partial(_clip, low=low, high=high))
            content = ((content - np.float64(low)) / (high - low)).astype(np.float32)
        np.clip(content, 0, 1, out=content)  # the filter overshoots at edges
        pixels = content[kept]
        if config.equalize:
            levels = _equalize(pixels, config.depth)
        else:
            levels = _quantise(_standardize(pixels) if config.standardize else pixels, config.depth)
    # Ranks differ even where all pixels are equal.
    compared = pixels if config.equalize else levels
    if compared.min() == compared.max():
        raise ImageError("constant image after crop and window")
    blackened = np.zeros(content.shape, levels.dtype)
    blackened[kept] = levels
    return _place_on_black(blackened, config)


def shown_range(
    image: np.ndarray, config: DataConfig, window: tuple[float, float] | None = None
) -> tuple[float, float]:
    """The raw values that `preprocess` makes black and white; arguments as there.

    Raises ImageError when `data.window=voi` finds no window.
    """
    region = _region(_reduce_channels(image, config.channels), config)
    visible = _visible(region.shape[0], region.shape[1], config)
    return _window_limits(region[visible], config) if window is None else window


def load_image(path: Path, config: DataConfig) -> np.ndarray:
    """Read and preprocess one image file. Raises ImageError only."""
    return load_with_shape(path, config)[0]


def load_with_shape(path: Path, config: DataConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """`load_image`, and the height and width that the image had. Raises ImageError only."""
    with ALL_THREADS.one_image():
        picture = read_picture(path, config.read_options)
        height, width = picture.values.shape[:2]
        return preprocess(picture.values, config, picture.window), (height, width)


def load_mask(path: Path, config: DataConfig, like: tuple[int, int]) -> np.ndarray:
    """Read and preprocess one lesion mask of an image of a height and width: bool (size, size).

    Raises ImageError only.
    """
    with ALL_THREADS.one_image():
        return preprocess_mask(read_mask(path, config.max_pixels, like), config)


def preprocess_mask(mask: np.ndarray, config: DataConfig) -> np.ndarray:
    """Bring a lesion mask (H, W), nonzero is lesion, to bool (size, size).

    The geometry is that of `preprocess`. A pixel is lesion when lesion covers at least half of its
    area, so a lesion smaller than half a pixel of the result vanishes; what is black by the
    configuration, borders and corners, is not lesion.
    """
    region = _region(np.asarray(mask) != 0, config)
    height, width = _resized_shape(region.shape[0], region.shape[1], config)
    rows, columns = _area_weights(region.shape[0], height), _area_weights(region.shape[1], width)
    covered = rows @ region.astype(np.float32) @ columns.T
    # The weights sum to 1 only up to rounding; exactly half must still count as half.
    lesion = (covered >= 0.5 - 1e-4) & _visible(height, width, config)
    placed: np.ndarray = _place_on_black(lesion, config.model_copy(update={"channels": 1}))[0]
    return placed


class Placement(NamedTuple):
    """Where a preprocessed picture (size, size) lies in its original.

    box: of the original, the part that was kept; content: of the picture, the part that is not
    black by "pad". Each (x0, y0, x1, y1) in pixels; x1 and y1 are the first outside.
    """

    box: tuple[int, int, int, int]
    content: tuple[int, int, int, int]


def placement(height: int, width: int, config: DataConfig) -> Placement:
    """Where `preprocess` puts an image of this height and width."""
    x0, y0, x1, y1 = _region_box(height, width, config)
    rows, columns = _resized_shape(y1 - y0, x1 - x0, config)
    top, left = (config.size - rows) // 2, (config.size - columns) // 2
    return Placement((x0, y0, x1, y1), (left, top, left + columns, top + rows))


def to_original_grid(
    anomaly_map: np.ndarray, height: int, width: int, config: DataConfig
) -> np.ndarray:
    """Bring a map (size, size) back to the image (height, width) that `preprocess` was given.

    Returns float32, interpolated; 0 where the image was cropped.
    """
    (x0, y0, x1, y1), (left, top, right, bottom) = placement(height, width, config)
    placed = np.zeros((height, width), dtype=np.float32)
    content = np.ascontiguousarray(anomaly_map[top:bottom, left:right], dtype=np.float32)
    size = (x1 - x0, y1 - y0)
    resized = Image.fromarray(content).resize(size, Image.Resampling.BILINEAR)
    placed[y0:y1, x0:x1] = np.asarray(resized)
    return placed


def _area_weights(before: int, after: int) -> np.ndarray:
    """(after, before): which part of each pixel of the result each pixel of the original covers.

    Pillow's box filter counts whole pixels, which moves the outline of small lesions.
    """
    edges = np.linspace(0, before, after + 1)[:, np.newaxis]
    pixels = np.arange(before)
    overlap = np.minimum(edges[1:], pixels + 1) - np.maximum(edges[:-1], pixels)
    weights: np.ndarray = np.clip(overlap, 0, None) * (after / before)
    return weights.astype(np.float32)


def _reduce_channels(image: np.ndarray, channels: int) -> np.ndarray:
    if image.ndim == 2 or channels == 3:
        return image
    if image.dtype == np.uint8:
        return np.asarray(Image.fromarray(image).convert("L"))
    luma: np.ndarray = image.astype(np.float32) @ LUMA_WEIGHTS
    if image.dtype == np.uint16:
        luma = np.rint(luma).astype(np.uint16)
    return luma


def _region(image: np.ndarray, config: DataConfig) -> np.ndarray:
    """The part of the picture that is kept: a view, below the cropped top, square for "crop"."""
    x0, y0, x1, y1 = _region_box(image.shape[0], image.shape[1], config)
    return image[y0:y1, x0:x1]


def _region_box(height: int, width: int, config: DataConfig) -> tuple[int, int, int, int]:
    removed = min(round(config.crop_top * height), height - 1)
    if config.square != "crop":
        return 0, removed, width, height
    side = min(height - removed, width)
    top, left = removed + (height - removed - side) // 2, (width - side) // 2
    return left, top, left + side, top + side


def _visible(height: int, width: int, config: DataConfig) -> np.ndarray:
    """Bool (height, width): what the masks of border and corners leave."""
    return _visible_between(height, width, config.mask_border, config.mask_corners)


@lru_cache(maxsize=16)
def _visible_between(height: int, width: int, border: float, corners: float) -> np.ndarray:
    visible = np.ones((height, width), dtype=bool)
    for share, in_corners in ((border, False), (corners, True)):
        y, x = round(share * height), round(share * width)
        rows, columns = np.zeros(height, dtype=bool), np.zeros(width, dtype=bool)
        rows[:y] = rows[height - y :] = True
        columns[:x] = columns[width - x :] = True
        combine = np.logical_and if in_corners else np.logical_or
        visible &= ~combine(rows[:, np.newaxis], columns)
    return visible


def _resized_shape(height: int, width: int, config: DataConfig) -> tuple[int, int]:
    if config.square != "pad":
        return config.size, config.size
    scale = config.size / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))


def _window_limits(region: np.ndarray, config: DataConfig) -> tuple[float, float]:
    window = config.window
    if window == "auto":
        window = config.plain_window or ("full" if region.dtype == np.uint8 else "percentile")
    if window == "fixed":
        return config.window_range
    if window == "voi":
        raise ImageError("no window in the file, which data.window=voi needs")
    if window == "percentile":
        low, high = _percentiles(region, config.window_range)
        if low < high:
            return float(low), float(high)
        # More than 99 % of the picture is one value: only its extremes can show the rest.
    elif region.dtype != np.float32:
        return 0.0, float(np.iinfo(region.dtype).max)
    return float(region.min()), float(region.max())


def _percentiles(values: np.ndarray, percents: tuple[float, float]) -> tuple[float, float]:
    """Percentiles, interpolated; of integers from their histogram, which needs no sorting."""
    if values.dtype.kind == "f":
        low, high = np.percentile(values, percents)
        return float(low), float(high)
    flat, levels = values.ravel(), int(values.max()) + 1
    counts = np.zeros(levels, dtype=np.int64)
    for start in range(0, flat.size, _COUNTED_TOGETHER):
        counts += np.bincount(flat[start : start + _COUNTED_TOGETHER], minlength=levels)
    up_to = np.cumsum(counts)
    found = []
    for percent in percents:
        place = percent / 100 * (values.size - 1)
        below, above = np.searchsorted(up_to, [np.floor(place), np.ceil(place)], "right")
        found.append(float(below + (above - below) * (place % 1)))
    return found[0], found[1]


def _apply_window(region: np.ndarray, low: float, high: float) -> np.ndarray:
    # In double precision: differences of float images can leave the range of single.
    values = region.astype(np.float64)
    np.clip(values, low, high, out=values)
    values -= low
    values /= high - low
    return values.astype(np.float32)


def _clip(region: np.ndarray, low: float, high: float) -> np.ndarray:
    values = region.astype(np.float32)
    return np.clip(values, low, high, out=values)


def _is_plain_8_bit(config: DataConfig) -> bool:
    # Ranks are taken before rounding to 8 bits, which would tie most pixels.
    return config.depth == 8 and not (config.equalize or config.standardize or config.clahe)


def _quantise(values: np.ndarray, depth: int) -> np.ndarray:
    dtype = np.uint8 if depth == 8 else np.uint16
    levels: np.ndarray = np.rint(values.astype(np.float64) * np.iinfo(dtype).max)
    return levels.astype(dtype)


def _equalize(values: np.ndarray, depth: int) -> np.ndarray:
    """Ranks in place of values (N,) or (N, 3): every level is used equally often, per channel.

    Ties are broken by the same random order for every image, so the result is repeatable.
    """
    if values.ndim == 2:
        return np.stack([_equalize(plane, depth) for plane in values.T], axis=-1)
    # A stable sort keeps tied pixels in the order they come in: here, a random one.
    shuffled = np.random.default_rng(0).permutation(values.size)
    ranks = np.empty(values.size, dtype=np.int64)
    ranks[shuffled[np.argsort(values[shuffled], kind="stable")]] = np.arange(values.size)
    dtype = np.uint8 if depth == 8 else np.uint16
    return (ranks * (1 << depth) // values.size).astype(dtype)


def _standardize(values: np.ndarray) -> np.ndarray:
    """Mean to 0.5, three standard deviations either way to 0 and 1, the rest clipped."""
    deviations = values.astype(np.float64) - values.mean(dtype=np.float64)
    sd = deviations.std()
    clipped: np.ndarray = np.clip(0.5 + deviations / (6 * sd if sd else 1.0), 0.0, 1.0)
    return clipped


def _equalize_locally(values: np.ndarray, limit: float) -> np.ndarray:
    """CLAHE (Zuiderveld, Graphics Gems IV, 1994) of values in [0, 1], (H, W) or (H, W, 3).

    8 x 8 tiles; a tile's histogram is cut at `limit` times its mean.
    """
    from skimage.exposure import equalize_adapthist  # takes a while, and few need it

    if values.ndim == 3:
        planes = [_equalize_locally(values[..., k], limit) for k in range(values.shape[2])]
        return np.stack(planes, axis=-1)
    tile = [max(1, side // 8) for side in values.shape]
    equalized: np.ndarray = equalize_adapthist(values, tile, clip_limit=limit / 256, nbins=256)
    return equalized.astype(np.float32)


def _place_on_black(content: np.ndarray, config: DataConfig) -> np.ndarray:
    planes = content[np.newaxis] if content.ndim == 2 else np.moveaxis(content, -1, 0)
    canvas = np.zeros((config.channels, config.size, config.size), dtype=content.dtype)
    height, width = planes.shape[1:]
    top, left = (config.size - height) // 2, (config.size - width) // 2
    canvas[:, top : top + height, left : left + width] = planes
    return canvas
