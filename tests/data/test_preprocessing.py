"""Preprocessing against computations written down independently."""

from itertools import pairwise

import numpy as np
import pytest
from pydantic import ValidationError

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.preprocessing import preprocess, preprocess_mask


def random_image(shape: tuple[int, ...], dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    top = np.iinfo(dtype).max + 1
    return np.random.default_rng(seed).integers(0, top, shape).astype(dtype)


def test_an_8_bit_image_of_the_right_size_is_unchanged() -> None:
    image = random_image((64, 64))
    result = preprocess(image, DataConfig())
    assert result.dtype == np.uint8
    assert np.array_equal(result, image[np.newaxis])


def test_crop_removes_the_top_then_keeps_the_central_square() -> None:
    image = random_image((40, 36))
    result = preprocess(image, DataConfig(size=32, crop_top=0.2))
    assert np.array_equal(result[0], image[8:, 2:34])


def test_pad_centres_the_picture_between_black_borders() -> None:
    image = random_image((32, 20)) // 2 + 100
    result = preprocess(image, DataConfig(size=32, square="pad"))[0]
    assert np.array_equal(result[:, 6:26], image)
    assert not result[:, :6].any()
    assert not result[:, 26:].any()


def test_stretch_fills_the_square_with_the_whole_picture() -> None:
    image = np.zeros((32, 64), dtype=np.uint8)
    image[:, 32:] = 200
    result = preprocess(image, DataConfig(size=32, square="stretch"))[0]
    assert (result[:, :12] == 0).all()
    assert (result[:, 20:] == 200).all()


def test_shrinking_averages_instead_of_picking_pixels() -> None:
    image = np.zeros((256, 256), dtype=np.uint8)
    image[:, 128:] = 255 * (np.indices((256, 128)).sum(axis=0) % 2)
    result = preprocess(image, DataConfig(size=32))[0].astype(int)
    assert np.abs(result[2:-2, 20:-2] - 127.5).max() <= 2


@pytest.mark.parametrize(
    ("options", "low", "high"),
    [
        ({}, "0.5", "99.5"),
        ({"window": "full"}, 0.0, 65535.0),
        ({"window": "percentile", "window_low": 10, "window_high": 80}, "10", "80"),
        ({"window": "percentile", "window_high": 80}, "0.5", "80"),
        ({"window": "fixed", "window_low": -1000, "window_high": 40000}, -1000.0, 40000.0),
    ],
)
def test_window_of_16_bit_images(
    options: dict[str, object], low: str | float, high: str | float
) -> None:
    image = random_image((32, 32), np.uint16)
    low, high = (np.percentile(image, float(v)) if isinstance(v, str) else v for v in (low, high))
    expected = np.clip((image - low) / (high - low), 0, 1)
    eight = preprocess(image, DataConfig.model_validate({"size": 32, **options}))
    sixteen = preprocess(image, DataConfig.model_validate({"size": 32, "depth": 16, **options}))
    assert eight.dtype == np.uint8
    assert sixteen.dtype == np.uint16
    assert np.abs(eight[0] - expected * 255).max() <= 0.51
    assert np.abs(sixteen[0] - expected * 65535).max() <= 0.52


def test_float_images_of_any_scale_use_the_whole_range() -> None:
    image = np.random.default_rng(0).normal(size=(32, 32)).astype(np.float32)
    expected = preprocess(image, DataConfig(size=32, window="full"))
    assert (expected.min(), expected.max()) == (0, 255)
    for scale in (1e-38, 1e3, 5e37):
        scaled = image * np.float32(scale)
        result = preprocess(scaled, DataConfig(size=32, window="full"))
        assert np.abs(result.astype(int) - expected).max() <= 1


def test_depth_16_keeps_what_8_bit_images_hold() -> None:
    image = random_image((32, 32))
    result = preprocess(image, DataConfig(size=32, depth=16))[0]
    assert np.array_equal(result, image.astype(np.uint16) * 257)


def test_a_percentile_window_of_a_nearly_empty_picture_still_shows_it() -> None:
    image = np.zeros((64, 64), dtype=np.uint16)
    image[10, 10] = 500
    result = preprocess(image, DataConfig())
    assert result[0, 10, 10] == 255
    assert np.count_nonzero(result) == 1


def test_colour_becomes_grey_by_luma() -> None:
    image = random_image((32, 32, 3))
    expected = image.astype(float) @ [0.299, 0.587, 0.114]
    assert np.abs(preprocess(image, DataConfig(size=32))[0] - expected).max() <= 0.51


def test_grey_is_repeated_and_colour_kept_for_three_channels() -> None:
    grey, colour = random_image((32, 32)), random_image((32, 32, 3))
    config = DataConfig(size=32, channels=3)
    assert np.array_equal(preprocess(grey, config), np.stack([grey] * 3))
    assert np.array_equal(preprocess(colour, config), np.moveaxis(colour, -1, 0))
    deep = preprocess(colour, DataConfig(size=32, channels=3, depth=16))
    assert np.array_equal(deep, np.moveaxis(colour, -1, 0).astype(np.uint16) * 257)


@pytest.mark.parametrize("depth", [8, 16])
def test_equalize_gives_every_image_the_uniform_histogram(depth: int) -> None:
    config = DataConfig.model_validate({"size": 64, "equalize": True, "depth": depth})
    dark = (random_image((64, 64), seed=1) // 16).astype(np.uint8)
    result = preprocess(dark, config)
    share = np.bincount((result >> (depth - 8)).ravel(), minlength=256)
    assert (share == 64 * 64 / 256).all()
    # Order is kept: a brighter pixel never gets a lower level than a darker one.
    by_value = [result[0][dark == value] for value in np.unique(dark)]
    assert all(a.max() <= b.min() for a, b in pairwise(by_value))
    assert np.array_equal(result, preprocess(dark, config))


def test_equalize_breaks_ties_without_a_pattern() -> None:
    image = np.zeros((64, 64), dtype=np.uint8)
    image[:, 32:] = 9
    result = preprocess(image, DataConfig(equalize=True))[0].astype(float)
    assert abs(result[:32, :32].mean() - result[32:, :32].mean()) < 5


def test_equalize_leaves_borders_black() -> None:
    image = random_image((32, 16))
    result = preprocess(image, DataConfig(size=32, square="pad", equalize=True))[0]
    assert not result[:, :8].any()
    assert (np.bincount(result[:, 8:24].ravel(), minlength=256) == 2).all()


def test_standardize_forgets_exposure_and_clips_at_three_deviations() -> None:
    image = (np.random.default_rng(0).normal(120, 12, (64, 64)).clip(0, 255)).astype(np.uint8)
    image[:2, :2] = 255
    config = DataConfig(standardize=True, depth=16)
    result = preprocess(image, config)[0]
    values = image.astype(float)
    expected = np.clip(0.5 + (values - values.mean()) / values.std() / 6, 0, 1)
    assert np.abs(result / 65535 - expected).max() <= 1 / 65535
    assert result[0, 0] == 65535
    darker = preprocess((image // 2 * 2).astype(np.uint16) * 10, config.model_copy(
        update={"window": "full"}
    ))[0]  # fmt: skip
    assert np.abs(darker.astype(int) - result).max() < 0.02 * 65535


def test_clahe_spreads_local_contrast_as_far_as_the_limit_allows() -> None:
    """Noise of 16 levels, darker on the left: one histogram for all would leave it flat."""
    noise = random_image((256, 256), seed=3) // 16
    image = (noise + np.where(np.arange(256) < 128, 40, 180)).astype(np.uint8)

    def spread(clahe: float) -> list[float]:
        result = preprocess(image, DataConfig(size=256, depth=16, clahe=clahe))[0] / 65535
        return [float(result[:, part].std()) for part in (slice(96), slice(160, None))]

    before, little, much = spread(0), spread(2), spread(100)
    for side in (0, 1):
        assert before[side] < little[side] < much[side]
        # The slope of a tile's map is at most the limit, and a uniform spread is 1 / sqrt(12).
        assert little[side] < 3 * before[side]
        assert much[side] == pytest.approx(12**-0.5, rel=0.1)


@pytest.mark.parametrize("shape", [(9, 4), (8, 300), (65, 70, 3)])
def test_clahe_takes_any_shape(shape: tuple[int, ...]) -> None:
    image = np.repeat(random_image(shape), 2, axis=0)
    assert preprocess(image, DataConfig(size=32, channels=3, clahe=3)).shape == (3, 32, 32)


@pytest.mark.parametrize("options", [{}, {"equalize": True}, {"standardize": True}, {"clahe": 2}])
def test_what_is_masked_is_black_and_tells_nothing(options: dict[str, object]) -> None:
    options |= {"size": 64, "mask_border": 0.1, "mask_corners": 0.25, "window": "percentile"}
    config = DataConfig.model_validate(options)
    image = random_image((64, 64))
    marked = image.copy()
    marked[:, :5] = marked[:14, -14:] = 255
    plain, other = preprocess(image, config)[0], preprocess(marked, config)[0]
    assert np.array_equal(plain, other)
    black = np.zeros((64, 64), dtype=bool)
    black[:6] = black[-6:] = black[:, :6] = black[:, -6:] = True
    for rows in (slice(16), slice(48, None)):
        for columns in (slice(16), slice(48, None)):
            black[rows, columns] = True
    assert not plain[black].any()
    assert (plain[~black] > 0).mean() > 0.9
    assert np.array_equal(preprocess_mask(np.ones((64, 64)), config), ~black)


def test_masked_images_of_any_shape_keep_their_geometry() -> None:
    config = DataConfig(size=64, square="pad", mask_border=0.1)
    image = np.full((100, 50), 100, dtype=np.uint8)
    image[40:60, 20:30] = 250
    result = preprocess(image, config)[0]
    assert not result[:, :16].any() and not result[:6].any() and not result[:, 16:19].any()
    lesion = preprocess_mask(image > 200, config)
    assert lesion.sum() > 50 and (result[lesion] > 170).all()


@pytest.mark.parametrize(
    ("config", "value"),
    [
        (DataConfig(size=32, crop_top=0.5, standardize=True), 7),
        (DataConfig(size=32, crop_top=0.5), 0),
        (DataConfig(size=32, window="fixed", window_low=300, window_high=400), 255),
        (DataConfig(size=32, crop_top=0.5, equalize=True), 0),
        (DataConfig(size=32, crop_top=0.5, window="percentile"), 0),
    ],
)
def test_a_picture_lost_in_crop_or_window_is_an_error(config: DataConfig, value: int) -> None:
    image = random_image((64, 64))
    image[32:] = value
    with pytest.raises(ImageError, match="constant image after crop and window"):
        preprocess(image, config)


@pytest.mark.parametrize("shape", [(8, 3000), (3000, 8), (9, 9), (33, 47)])
@pytest.mark.parametrize("square", ["crop", "pad", "stretch"])
def test_any_shape_gives_the_shape_asked_for(shape: tuple[int, int], square: str) -> None:
    config = DataConfig.model_validate({"size": 32, "square": square})
    assert preprocess(random_image(shape), config).shape == (1, 32, 32)
    assert preprocess_mask(np.ones(shape, dtype=bool), config).shape == (32, 32)


@pytest.mark.parametrize("square", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(100, 140), (140, 100), (40, 48)])
def test_a_mask_goes_where_its_image_goes(square: str, shape: tuple[int, int]) -> None:
    config = DataConfig.model_validate({"size": 64, "square": square, "crop_top": 0.1})
    image = np.zeros(shape, dtype=np.uint8)
    image[25:35, 20:38] = 255
    picture = preprocess(image, config)[0] >= 128
    mask = preprocess_mask(image > 0, config)
    assert mask.dtype == bool
    assert mask.any()
    # The filters differ, so pixels on the outline may.
    assert (picture != mask).sum() <= 0.2 * mask.sum()


def test_a_mask_pixel_is_lesion_when_half_covered() -> None:
    mask = np.zeros((64, 64), dtype=bool)
    mask[0:2, 0:1] = True  # half of one result pixel
    mask[10, 10] = True  # a quarter of one
    result = preprocess_mask(mask, DataConfig(size=32))
    assert result[0, 0]
    assert result.sum() == 1


def test_mask_borders_are_not_lesion() -> None:
    config = DataConfig(size=32, square="pad", channels=3)
    result = preprocess_mask(np.ones((64, 32), dtype=bool), config)
    assert result[:, 8:24].all()
    assert result.sum() == 32 * 16


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"size": 66}, "multiple of 4"),
        ({"size": 28}, "greater than or equal to 32"),
        ({"crop_top": 0.95}, "less than or equal to 0.9"),
        ({"channels": 2}, "1 or 3"),
        ({"window": "fixed"}, "needs window_low and window_high"),
        ({"window": "fixed", "window_low": 5, "window_high": 5}, "below window_high"),
        ({"window": "percentile", "window_high": 101}, "from 0 to 100"),
        ({"window": "percentile", "window_low": 99.9}, "below window_high"),
        ({"window_low": 3}, "need window = 'percentile' or 'fixed'"),
        (
            {"window": "fixed", "window_low": float("nan"), "window_high": 1},
            "finite",
        ),
        ({"sise": 64}, "not permitted"),
        ({"clahe": 0.5}, "clahe must be above 1"),
        ({"mask_corners": 0.5}, "less than or equal to 0.4"),
        ({"equalize": True, "standardize": True}, "either equalize or standardize"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataConfig.model_validate(options)
