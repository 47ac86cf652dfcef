from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from a2bgan.detection.measures.localisation import (
    aupro,
    hit_rate,
    pixel_ap,
    pixel_auroc,
    psnr,
    twin_error,
    within_image_auroc,
)

Metric = Callable[[np.ndarray, np.ndarray], float | None]


def naive_regions(mask: np.ndarray) -> list[set[tuple[int, int]]]:
    left = {(int(row), int(column)) for row, column in np.argwhere(mask)}
    regions = []
    while left:
        region, frontier = set(), [left.pop()]
        while frontier:
            row, column = frontier.pop()
            region.add((row, column))
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & left
            left -= near
            frontier += near
        regions.append(region)
    return regions


def naive_aupro(maps: np.ndarray, masks: np.ndarray, limit: float) -> float:
    points = [(0.0, 0.0)]
    for threshold in sorted(set(maps.ravel()), reverse=True):
        overlaps = []
        for image, mask in zip(maps, masks, strict=True):
            for region in naive_regions(mask):
                overlaps.append(np.mean([image[pixel] >= threshold for pixel in region]))
        points.append((np.mean(maps[~masks] >= threshold), np.mean(overlaps)))
    area = 0.0
    for (rate, overlap), (next_rate, next_overlap) in pairwise(points):
        if next_rate > limit:
            overlap_at_limit = overlap + (next_overlap - overlap) * (limit - rate) / (
                next_rate - rate
            )
            return float(area + (limit - rate) * (overlap + overlap_at_limit) / 2) / limit
        area += (next_rate - rate) * (overlap + next_overlap) / 2
    return float(area) / limit


@pytest.fixture
def masks() -> np.ndarray:
    masks = np.zeros((4, 12, 10), dtype=bool)
    masks[0, 2:6, 3:7] = True
    masks[0, 9, 0] = True
    masks[1, 0:2, 0:2] = masks[1, 2:4, 2:4] = True  # touch by a corner: one region
    masks[2, 11, 9] = True  # below, in the stack, lies the first pixel of the next image
    return masks


@pytest.fixture(params=["distinct values", "ties"])
def maps(request: pytest.FixtureRequest, masks: np.ndarray) -> np.ndarray:
    maps = np.random.default_rng(0).random(masks.shape) + 0.4 * masks
    return maps if request.param == "distinct values" else maps.round(1)


def test_pixel_auroc_equals_scikit_learns(maps: np.ndarray, masks: np.ndarray) -> None:
    expected = roc_auc_score(masks.ravel(), maps.ravel())
    assert pixel_auroc(maps, masks) == pytest.approx(expected)


def test_pixel_ap_equals_scikit_learns(maps: np.ndarray, masks: np.ndarray) -> None:
    expected = average_precision_score(masks.ravel(), maps.ravel())
    assert pixel_ap(maps, masks) == pytest.approx(expected)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_equals_a_loop_over_thresholds_and_regions(
    maps: np.ndarray, masks: np.ndarray, limit: float
) -> None:
    assert aupro(maps, masks, limit) == pytest.approx(naive_aupro(maps, masks, limit))


def test_aupro_of_float32_maps(maps: np.ndarray, masks: np.ndarray) -> None:
    single = maps.astype(np.float32)
    assert aupro(single, masks) == pytest.approx(naive_aupro(single, masks, 0.3))


def test_aupro_ends(masks: np.ndarray) -> None:
    assert aupro(masks.astype(float), masks) == pytest.approx(1.0)
    assert aupro(1.0 - masks, masks) == pytest.approx(0.0)
    assert aupro(np.zeros(masks.shape), masks) == pytest.approx(0.15)  # the diagonal, up to 0.3


def test_aupro_gives_a_small_lesion_the_weight_of_a_large_one() -> None:
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, :9] = True
    masks[0, 15, 15] = True
    only_large, only_small = np.zeros((2, 1, 20, 20))
    only_large[0, :9] = 1
    only_small[0, 15, 15] = 1
    assert aupro(only_large, masks) == pytest.approx(aupro(only_small, masks))


def test_within_image_auroc_is_the_mean_of_scikit_learns(
    maps: np.ndarray, masks: np.ndarray
) -> None:
    masks[3] = True  # no pixel to compare with: does not count
    expected = [roc_auc_score(masks[k].ravel(), maps[k].ravel()) for k in (0, 1, 2)]
    assert within_image_auroc(maps, masks) == pytest.approx(np.mean(expected))
    brighter = maps + np.arange(4)[:, None, None]
    assert within_image_auroc(brighter, masks) == pytest.approx(np.mean(expected))
    assert within_image_auroc(np.zeros(masks.shape), masks) == 0.5


def test_hit_rate_counts_highest_pixels_inside_and_shares_of_ties(masks: np.ndarray) -> None:
    maps = np.zeros(masks.shape)
    maps[0, 3, 4] = 1  # inside
    maps[1, 7, 7] = 1  # outside
    maps[2, 11, 9] = maps[2, 0, 0] = maps[2, 0, 1] = maps[2, 0, 2] = 1  # one of four inside
    maps[3, 0, 0] = 1  # no lesion: does not count
    assert hit_rate(maps, masks) == pytest.approx((1 + 0 + 0.25) / 3)
    flat = np.mean([masks[k].mean() for k in (0, 1, 2)])
    assert hit_rate(np.ones(masks.shape), masks) == pytest.approx(flat)
    assert hit_rate(masks.astype(np.float32), masks) == 1
    assert hit_rate(maps, np.zeros_like(masks)) is None


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_ap, aupro, within_image_auroc])
@pytest.mark.parametrize("filled", [False, True])
def test_no_value_where_all_pixels_are_of_one_kind(metric: Metric, filled: bool) -> None:
    assert metric(np.zeros((2, 4, 4)), np.full((2, 4, 4), filled)) is None


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_ap, aupro, within_image_auroc, hit_rate])
def test_shapes_must_agree(metric: Metric) -> None:
    with pytest.raises(ValueError, match=r"one \(N, H, W\) shape"):
        metric(np.zeros((2, 4, 4)), np.zeros((1, 4, 4), dtype=bool))


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, true twins and translations, (3, 2, 6, 5) each."""
    images, twins, translated = np.random.default_rng(1).random((3, 3, 2, 6, 5))
    return images, twins, translated


def naive_psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    errors = [
        (a[n, c, h, w] - b[n, c, h, w]) ** 2 for n, c, h, w in np.ndindex(a.shape) if where[n, h, w]
    ]
    return float(10 * np.log10(1 / np.mean(errors)))


def test_psnr_of_known_errors() -> None:
    a = np.zeros((1, 1, 2, 2))
    b = np.array([[[[0.1, 0.1], [1.0, 1.0]]]])
    top = np.array([[[True, True], [False, False]]])
    assert psnr(a, b, top) == pytest.approx(20.0)
    assert psnr(a, b, ~top) == pytest.approx(0.0)
    assert psnr(a, a, top) == float("inf")
    assert psnr(a, b, np.zeros_like(top)) is None


def test_twin_error_equals_naive_loops(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, twins, translated = images
    masks = np.zeros((3, 6, 5), dtype=bool)
    masks[0, 1:3, 1:4] = masks[1, 5, 4] = True
    errors = twin_error(x, twins, translated, masks)
    assert errors == {
        "psnr_inside": pytest.approx(naive_psnr(translated, twins, masks)),
        "psnr_inside_input": pytest.approx(naive_psnr(x, twins, masks)),
        "psnr_outside": pytest.approx(naive_psnr(translated, twins, ~masks)),
        "healthy_change": pytest.approx(float(np.mean(np.abs(x[2] - translated[2])))),
    }


def test_twin_error_without_lesions_or_without_healthy_images(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    no_lesion = twin_error(*images, np.zeros((3, 6, 5), dtype=bool))
    assert no_lesion["psnr_inside"] is None
    assert no_lesion["psnr_inside_input"] is None
    assert no_lesion["healthy_change"] is not None
    all_lesion = twin_error(*images, np.ones((3, 6, 5), dtype=bool))
    assert all_lesion["psnr_outside"] is None
    assert all_lesion["healthy_change"] is None
    assert all_lesion["psnr_inside"] is not None
