"""Configuration of the data: how images are brought to one size and range."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    field_serializer,
    field_validator,
    model_validator,
)

from a2bgan.data import bounds
from a2bgan.data.formats.picture import ReadOptions
from a2bgan.data.formats.pixels_at_once import LARGEST_PIXEL_COUNT

DEFAULT_PERCENTS = (0.5, 99.5)

LARGEST_BY_IMAGES = 256
"""Largest size that ``size: auto`` settles on; its value until the images are known."""

_Part = Annotated[float, Field(ge=0, le=1)]


class DataConfig(BaseModel):
    """Section ``data``: how images are brought to one size and range."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    size: int = Field(
        default=64,
        ge=32,
        le=bounds.SIDE,
        description="side in pixels, a multiple of 4; auto: by the size of the training images",
    )
    size_by_images: bool = Field(default=False, exclude=True)
    channels: Literal[1, 3] = Field(
        default=1, description="1: grey, colour is reduced by luma; 3: colour, grey is repeated"
    )
    crop_top: float = Field(
        default=0.0, ge=0.0, le=0.9, description="share of the height to cut off at the top"
    )
    square: Literal["crop", "pad", "stretch"] = Field(
        default="crop", description="keep the central square, add black, or change the shape"
    )
    window: Literal["auto", "full", "percentile", "fixed", "voi"] = Field(
        default="auto",
        description="values that become black and white; full: range of the type, or of an image "
        "of floats; percentile: of the image, or of the whole volume; fixed: raw values; voi: a "
        "DICOM file's own window, or refused; auto: its own where there is one, else plain_window",
    )
    plain_window: Literal["full", "percentile"] | None = Field(
        default=None,
        description="auto for files without a window; training sets it by most of its images; "
        "null: full for 8-bit images, percentile for deeper ones",
    )
    window_low: float | None = Field(
        default=None,
        ge=-bounds.LEVEL,
        le=bounds.LEVEL,
        allow_inf_nan=False,
        description="black: percentage (0.5) or raw value",
    )
    window_high: float | None = Field(
        default=None,
        ge=-bounds.LEVEL,
        le=bounds.LEVEL,
        allow_inf_nan=False,
        description="white: percentage (99.5) or raw value",
    )
    clahe: float = Field(
        default=0.0,
        ge=0.0,
        le=256,
        description="limit of contrast-limited adaptive equalisation, as a multiple of a flat "
        "histogram (2 to 4 are usual); 0: none",
    )
    mask_border: float = Field(
        default=0.0, ge=0.0, le=0.25, description="share of each side to blacken, at every edge"
    )
    mask_corners: float = Field(
        default=0.0, ge=0.0, le=0.4, description="share of each side of the blackened corners"
    )
    equalize: bool = Field(default=False, description="give every image the uniform histogram")
    standardize: bool = Field(
        default=False, description="give every image the same mean and spread"
    )
    depth: Literal[8, 16] = Field(default=8, description="bits kept of each value")
    frames: Literal["refuse", "first", "middle"] = Field(
        default="refuse", description="DICOM with several frames: refuse it, or take one"
    )
    max_pixels: int = Field(
        default=100_000_000,
        ge=1,
        le=LARGEST_PIXEL_COUNT,
        description="larger images are refused before they are decoded",
    )
    volume_axis: Literal["axial", "coronal", "sagittal"] = Field(
        default="axial", description="the patient's axis along which slices are stacked"
    )
    slices: tuple[_Part, _Part] = Field(
        default=(0.0, 1.0), description="part of that axis whose slices are used"
    )
    skip_empty: float = Field(
        default=0.1, ge=0.0, lt=1.0, description="leave out slices of which less is not background"
    )
    series: Literal["images", "volume"] = Field(
        default="images", description="volume: all DICOM files of a folder are one volume"
    )

    @field_validator("size")
    @classmethod
    def _size_fits_the_networks(cls, size: int) -> int:
        if size % 4:
            raise ValueError("size must be a multiple of 4, because the networks halve it twice")
        return size

    @model_validator(mode="before")
    @classmethod
    def _size_may_be_left_to_the_images(cls, values: Any) -> Any:
        if isinstance(values, Mapping) and values.get("size") == "auto":
            return {**values, "size": LARGEST_BY_IMAGES, "size_by_images": True}
        return values

    @field_serializer("size")
    def _size_as_it_was_given(self, size: int) -> int | str:
        return "auto" if self.size_by_images else size

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
    def read_options(self) -> ReadOptions:
        """The options for the readers."""
        percents = self.window_range if self.window == "percentile" else DEFAULT_PERCENTS
        return ReadOptions(self.max_pixels, self.window, self.frames, percents)

    @property
    def window_range(self) -> tuple[float, float]:
        """`window_low` and `window_high`, with the default percents where they are unset."""
        low, high = self.window_low, self.window_high
        return (
            DEFAULT_PERCENTS[0] if low is None else low,
            DEFAULT_PERCENTS[1] if high is None else high,
        )
