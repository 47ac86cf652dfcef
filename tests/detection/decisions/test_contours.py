"""Regions: what the threshold promises, what growth may do, and where they end up."""

from functools import partial

import numpy as np
import pytest
from scipy import ndimage

from a2bgan.data.config import DataConfig
from a2bgan.data.preprocessing import preprocess_mask, to_original_grid
from a2bgan.detection import RATE
from a2bgan.detection.decisions.calibration import pixel_threshold
from a2bgan.detection.decisions.contours import GROW, find_regions, place_mask, regions


def noise(rng: np.random.Generator, images: int, side: int = 12) -> np.ndarray:
    """Maps (N, H, W), 0 or more, smooth, each of another strength."""
    maps = ndimage.gaussian_filter(rng.normal(size=(images, side, side)), (0, 1, 1))
    return (np.abs(maps) * rng.lognormal(size=(images, 1, 1))).astype(np.float32)


@pytest.mark.parametrize("images", [19, 30, 45])
def test_at_most_one_healthy_image_in_twenty_gets_a_region(images: int) -> None:
    """On average over calibration sets."""
    rng = np.random.default_rng(0)
    outlined = []
    for _ in range(400):
        maps = noise(rng, images + 20) * rng.lognormal(size=(images + 20, 1, 1))
        known, new = maps[:images], maps[images:]
        limit = pixel_threshold(known.max(axis=(1, 2)).astype(float))
        assert limit is not None
        outlined += [find_regions(each, limit).any() for each in new]
    # 20 new images share a calibration set, so that the error is that of some 400 draws.
    spread = np.array(outlined).reshape(400, 20).mean(1).std() / np.sqrt(400)
    assert np.mean(outlined) <= RATE + 2 * spread
    # It is not kept by finding nothing: exactly so many would do with untied maps.
    assert np.mean(outlined) >= np.floor(RATE * (images + 1)) / (images + 1) - 3 * spread


def test_too_few_images_give_no_threshold() -> None:
    assert pixel_threshold(np.arange(38.0)) == 37
    assert pixel_threshold(np.arange(39.0)) == 37
    assert pixel_threshold(np.arange(19.0)) == 18
    assert pixel_threshold(np.arange(18.0)) is None


@pytest.mark.parametrize("grow", [0.0, 0.3, GROW, 1.0])
def test_growth_makes_no_region_without_a_pixel_above_the_threshold(grow: float) -> None:
    rng = np.random.default_rng(1)
    for anomaly_map in noise(rng, 200, 24):
        limit = float(rng.uniform(0.5, 1.2) * anomaly_map.max())
        found = find_regions(anomaly_map, limit, grow)
        assert found.any() == (anomaly_map.max() > limit)
        above = anomaly_map > limit
        labels, count = ndimage.label(found)
        assert all(above[labels == k].any() for k in range(1, count + 1))
        assert (anomaly_map[found] > grow * limit).all()
        assert found[above].all()
        # What is left out is not connected to anything above the threshold.
        low, _ = ndimage.label(anomaly_map > grow * limit)
        assert not np.isin(low[~found & (low > 0)], low[above]).any()


def test_the_highest_healthy_value_itself_is_no_region() -> None:
    limit = float(np.float32(0.1))  # as it comes back from a file
    anomaly_map = np.full((8, 8), np.float32(0.1))
    assert not find_regions(anomaly_map, limit).any()
    anomaly_map[2, 2] = np.nextafter(np.float32(0.1), np.float32(1))
    assert find_regions(anomaly_map, limit).all()


def test_regions_are_described_the_highest_first() -> None:
    anomaly_map = np.zeros((20, 30), dtype=np.float32)
    anomaly_map[2:6, 3:5] = 0.6
    anomaly_map[10:13, 20:29] = 0.5
    anomaly_map[11, 22] = 0.9
    anomaly_map[18, 18] = 0.45  # high enough to grow to, but alone
    first, second = regions(find_regions(anomaly_map, 0.55, 0.8), anomaly_map)
    assert first.box == (20, 10, 29, 13)
    assert first.area == 27
    assert first.share == pytest.approx(27 / 600)
    assert first.centroid == (24, 11)
    assert first.peak == pytest.approx(0.9)
    assert (second.box, second.area, second.centroid) == ((3, 2, 5, 6), 8, (3.5, 3.5))
    assert regions(np.zeros((4, 4), dtype=bool), np.zeros((4, 4))) == []


@pytest.mark.parametrize("square", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(960, 640), (64, 96), (50, 50), (20, 24)])
def test_regions_return_to_where_they_came_from(square: str, shape: tuple[int, int]) -> None:
    config = DataConfig(size=32, square=square, crop_top=0.1)
    lesion = np.zeros(shape, dtype=bool)
    top, left = shape[0] // 2, shape[1] // 3
    lesion[top : top + shape[0] // 4, left : left + shape[1] // 4] = True
    mask = preprocess_mask(lesion, config)
    place = partial(to_original_grid, height=shape[0], width=shape[1], config=config)
    (found,) = regions(mask, mask.astype(float), place)
    pixel = max(shape) / 32 + 1  # how far an edge may move
    wanted = (left, top, left + shape[1] // 4, top + shape[0] // 4)
    assert np.abs(np.subtract(found.box, wanted)).max() <= pixel
    placed = place_mask(mask, place)
    assert placed.shape == shape
    assert found.area == placed.sum() == pytest.approx(lesion.sum(), rel=0.4)
    assert found.share == placed.mean()


def test_a_region_smaller_than_a_pixel_of_the_original_is_kept() -> None:
    config = DataConfig(size=64)
    mask = np.zeros((64, 64), dtype=bool)
    mask[12, 11] = mask[44, 43] = True
    place = partial(to_original_grid, height=8, width=8, config=config)
    found = regions(mask, mask.astype(float), place)
    assert [region.box for region in found] == [(1, 1, 2, 2), (5, 5, 6, 6)]
    assert place_mask(mask, place).sum() == 2


def test_a_region_in_the_border_that_made_an_image_square_is_left_out() -> None:
    config = DataConfig(size=32, square="pad")
    mask = np.zeros((32, 32), dtype=bool)
    mask[16, 1] = mask[16, 16] = True
    place = partial(to_original_grid, height=64, width=32, config=config)
    (found,) = regions(mask, mask.astype(float), place)
    assert found.centroid == pytest.approx((16.5, 32.5), abs=0.6)
