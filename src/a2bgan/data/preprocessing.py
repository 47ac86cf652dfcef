"""From an image of any size and depth to the fixed-size array the networks see."""

from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from a2bgan.data import bounds
from a2bgan.data.pixels_at_once import ALL_THREADS, LARGEST_PIXEL_COUNT
from a2bgan.data.readers import (
    ImageError,
    PassingImageError,
    Reading,
    read_mask,
    read_picture,
)

DEFAULT_PERCENTS = (0.5, 99.5)

# ITU-R BT.601, the weights Pillow uses for its own conversion to grey.
LUMA_WEIGHTS = np.array([0.299, 0.587, 0.114], dtype=np.float32)


_Part = Annotated[float, Field(ge=0, le=1)]


class DataConfig(BaseModel):
    """The section `data` of a configuration: how images are brought to one size and range.

    size: side of the square images in pixels, a multiple of 4, at least 32.
    channels: 1 (grey; colour is reduced by luma) or 3 (colour; grey is repeated).
    crop_top: fraction of the height removed at the top (0 to 0.9), where X-rays carry text.
    square: "crop" keeps the central square, "pad" adds black borders, "stretch" changes the shape.
    window: the raw values that become black and white. "full": the range of the type (for float
        images, of the image); "percentile": per image, from `window_low` to `window_high` percent
        (0.5 and 99.5 when unset); "fixed": from `window_low` to `window_high`, raw values; "voi":
        a DICOM file's own window, files without one are refused; "auto": the same where there is
        one, otherwise `plain_window`. Slices of a volume have one window, of all its voxels.
    plain_window: what "auto" is for files without a window of their own. Training sets it by what
        most of its images are, see `a2bgan.data.plain_window`; None: full for 8-bit images,
        percentile for deeper ones.
    frames: of a DICOM file with several frames: "refuse" it, or take the "first" or "middle" one.
    clahe: contrast-limited adaptive equalisation before the resize: the limit, as a multiple of a
        flat histogram (2 to 4 are usual); 0 leaves it out.
    mask_border: share of each side, at every edge, that is blackened.
    mask_corners: share of each side that the blackened corners take up, where markers are.
    equalize: give every image the uniform histogram.
    standardize: give every image the same mean (mid-grey) and spread (black and white are three
        standard deviations off).
    depth: bits kept of each value, 8 or 16.
    max_pixels: larger images are refused before they are decoded.
    volume_axis: the patient's axis that slices of volumes are stacked along.
    slices: the part of that axis whose slices are used, from 0 to 1.
    skip_empty: slices with a smaller share of pixels that are not background are left out.
    series: "images" takes every DICOM file by itself, "volume" all files of a folder as one volume.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(default=64, ge=32, le=bounds.SIDE)
    channels: Literal[1, 3] = 1
    crop_top: float = Field(default=0.0, ge=0.0, le=0.9)
    square: Literal["crop", "pad", "stretch"] = "crop"
    window: Literal["auto", "full", "percentile", "fixed", "voi"] = "auto"
    plain_window: Literal["full", "percentile"] | None = None
    window_low: float | None = Field(
        default=None, ge=-bounds.LEVEL, le=bounds.LEVEL, allow_inf_nan=False
    )
    window_high: float | None = Field(
        default=None, ge=-bounds.LEVEL, le=bounds.LEVEL, allow_inf_nan=False
    )
    clahe: float = Field(default=0.0, ge=0.0, le=256)
    mask_border: float = Field(default=0.0, ge=0.0, le=0.25)
    mask_corners: float = Field(default=0.0, ge=0.0, le=0.4)
    equalize: bool = False
    standardize: bool = False
    depth: Literal[8, 16] = 8
    frames: Literal["refuse", "first", "middle"] = "refuse"
    max_pixels: int = Field(default=100_000_000, ge=1, le=LARGEST_PIXEL_COUNT)
    volume_axis: Literal["axial", "coronal", "sagittal"] = "axial"
    slices: tuple[_Part, _Part] = (0.0, 1.0)
    skip_empty: float = Field(default=0.1, ge=0.0, lt=1.0)
    series: Literal["images", "volume"] = "images"

    @field_validator("size")
    @classmethod
    def _size_fits_the_networks(cls, size: int) -> int:
        if size % 4:
            raise ValueError("size must be a multiple of 4, because the networks halve it twice")
        return size

    @field_validator("clahe")
    @classmethod
    def _clip_limit_exceeds_a_flat_histogram(cls, clahe: float) -> float:
        if 0 < clahe <= 1:
            raise ValueError("clahe must be above 1, such as 2, or 0 for none")
        return clahe

    @field_validator("slices")
    @classmethod
    def _slices_are_a_range(cls, slices: tuple[float, float]) -> tuple[float, float]:
        if not 0 <= slices[0] < slices[1] <= 1:
            raise ValueError("slices are a range from 0 to 1, such as [0.3, 0.7]")
        return slices

    @model_validator(mode="after")
    def _has_one_way_to_level_brightness(self) -> Self:
        if self.equalize and self.standardize:
            raise ValueError("give either equalize or standardize: equal histograms are standard")
        return self

    @model_validator(mode="after")
    def _window_limits_fit_the_window(self) -> Self:
        low, high = self.window_low, self.window_high
        if self.window in ("auto", "full", "voi"):
            if low is not None or high is not None:
                raise ValueError("window_low and window_high need window = 'percentile' or 'fixed'")
            return self
        if self.window == "fixed" and (low is None or high is None):
            raise ValueError("window = 'fixed' needs window_low and window_high, in raw values")
        low, high = self.window_range
        if self.window == "percentile" and (low < 0 or high > 100):
            raise ValueError("window_low and window_high are percents: from 0 to 100")
        if low >= high:
            raise ValueError("window_low must be below window_high")
        return self

    @property
    def reading(self) -> Reading:
        """The part of it that readers need."""
        percents = self.window_range if self.window == "percentile" else DEFAULT_PERCENTS
        return Reading(self.max_pixels, self.window, self.frames, percents)

    @property
    def window_range(self) -> tuple[float, float]:
        """`window_low` and `window_high`, with the default percents where they are unset."""
        low, high = self.window_low, self.window_high
        return (
            DEFAULT_PERCENTS[0] if low is None else low,
            DEFAULT_PERCENTS[1] if high is None else high,
        )


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
        content = _resize_8_bit(region, shape)
        pixels = levels = content[kept]
    else:
        values = _apply_window(region, low, high)
        if config.clahe:
            values[~visible] = 0
            values = _equalize_locally(values, config.clahe)
        content = _resize_float(values, shape)
        pixels = content[kept]
        if config.equalize:
            levels = _equalize(pixels, config.depth)
        else:
            levels = _quantise(_standardize(pixels) if config.standardize else pixels, config.depth)
    # The ranks of a constant are none.
    told = pixels if config.equalize else levels
    if told.min() == told.max():
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
        picture = read_picture(path, config.reading)
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


def to_original_grid(
    anomaly_map: np.ndarray, height: int, width: int, config: DataConfig
) -> np.ndarray:
    """Bring a map (size, size) back to the image (height, width) that `preprocess` was given.

    Returns float32, interpolated; 0 where the image was cropped.
    """
    placed = np.zeros((height, width), dtype=np.float32)
    region = _region(placed, config)  # a view: which pixels of the image the map is of
    rows, columns = _resized_shape(region.shape[0], region.shape[1], config)
    top, left = (config.size - rows) // 2, (config.size - columns) // 2
    content = anomaly_map[top : top + rows, left : left + columns].astype(np.float32)
    picture = Image.fromarray(np.ascontiguousarray(content))
    region[...] = picture.resize((region.shape[1], region.shape[0]), Image.Resampling.BILINEAR)
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
    removed = min(round(config.crop_top * image.shape[0]), image.shape[0] - 1)
    image = image[removed:]
    if config.square != "crop":
        return image
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return image[top : top + side, left : left + side]


def _visible(height: int, width: int, config: DataConfig) -> np.ndarray:
    """Bool (height, width): what the masks of border and corners leave."""
    visible = np.ones((height, width), dtype=bool)
    for share, in_corners in ((config.mask_border, False), (config.mask_corners, True)):
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
        low, high = np.percentile(region, config.window_range)
        if low < high:
            return float(low), float(high)
        # More than 99 % of the picture is one value: only its extremes can show the rest.
    elif region.dtype != np.float32:
        return 0.0, float(np.iinfo(region.dtype).max)
    return float(region.min()), float(region.max())


def _apply_window(region: np.ndarray, low: float, high: float) -> np.ndarray:
    if low == high:
        raise ImageError("constant image after crop and window")
    # In double precision: differences of float images can leave the range of single.
    values = region.astype(np.float64)
    np.clip(values, low, high, out=values)
    values -= low
    values /= high - low
    return values.astype(np.float32)


def _is_plain_8_bit(config: DataConfig) -> bool:
    # Ranks are taken before rounding to 8 bits, which would tie most pixels.
    return config.depth == 8 and not (config.equalize or config.standardize or config.clahe)


def _resize_8_bit(region: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(region))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS))


def _resize_float(values: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    def resize(plane: np.ndarray) -> np.ndarray:
        picture = Image.fromarray(np.ascontiguousarray(plane))
        return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.LANCZOS))

    if values.ndim == 2:
        resized = resize(values)
    else:
        resized = np.stack([resize(values[..., k]) for k in range(values.shape[2])], axis=-1)
    # Lanczos overshoots at edges.
    clipped: np.ndarray = np.clip(resized, 0.0, 1.0)
    return clipped


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
