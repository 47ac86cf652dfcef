from itertools import pairwise

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, label
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from a2bgan.detection.measures.localisation import MapMeasures, TwinErrors


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
    assert MapMeasures.of(maps, masks).pixel_auroc() == pytest.approx(expected)


def test_pixel_ap_equals_scikit_learns(maps: np.ndarray, masks: np.ndarray) -> None:
    expected = average_precision_score(masks.ravel(), maps.ravel())
    assert MapMeasures.of(maps, masks).pixel_ap() == pytest.approx(expected)


@pytest.mark.parametrize("limit", [0.05, 0.3, 1.0])
def test_aupro_equals_a_loop_over_thresholds_and_regions(
    maps: np.ndarray, masks: np.ndarray, limit: float
) -> None:
    assert MapMeasures.of(maps, masks).aupro(limit) == pytest.approx(
        naive_aupro(maps, masks, limit)
    )


def test_aupro_of_float32_maps(maps: np.ndarray, masks: np.ndarray) -> None:
    single = maps.astype(np.float32)
    assert MapMeasures.of(single, masks).aupro() == pytest.approx(naive_aupro(single, masks, 0.3))


def test_aupro_ends(masks: np.ndarray) -> None:
    assert MapMeasures.of(masks.astype(float), masks).aupro() == pytest.approx(1.0)
    assert MapMeasures.of(1.0 - masks, masks).aupro() == pytest.approx(0.0)
    assert MapMeasures.of(np.zeros(masks.shape), masks).aupro() == pytest.approx(
        0.15
    )  # the diagonal, up to 0.3


def test_aupro_gives_a_small_lesion_the_weight_of_a_large_one() -> None:
    masks = np.zeros((1, 20, 20), dtype=bool)
    masks[0, :9] = True
    masks[0, 15, 15] = True
    only_large, only_small = np.zeros((2, 1, 20, 20))
    only_large[0, :9] = 1
    only_small[0, 15, 15] = 1
    assert MapMeasures.of(only_large, masks).aupro() == pytest.approx(
        MapMeasures.of(only_small, masks).aupro()
    )


def test_within_image_auroc_is_the_mean_of_scikit_learns(
    maps: np.ndarray, masks: np.ndarray
) -> None:
    masks[3] = True  # no pixel to compare with: does not count
    expected = [roc_auc_score(masks[k].ravel(), maps[k].ravel()) for k in (0, 1, 2)]
    assert MapMeasures.of(maps, masks).within_image_auroc() == pytest.approx(np.mean(expected))
    brighter = maps + np.arange(4)[:, None, None]
    assert MapMeasures.of(brighter, masks).within_image_auroc() == pytest.approx(np.mean(expected))
    assert MapMeasures.of(np.zeros(masks.shape), masks).within_image_auroc() == 0.5


def test_hit_rate_counts_highest_pixels_inside_and_shares_of_ties(masks: np.ndarray) -> None:
    maps = np.zeros(masks.shape)
    maps[0, 3, 4] = 1  # inside
    maps[1, 7, 7] = 1  # outside
    maps[2, 11, 9] = maps[2, 0, 0] = maps[2, 0, 1] = maps[2, 0, 2] = 1  # one of four inside
    maps[3, 0, 0] = 1  # no lesion: does not count
    assert MapMeasures.of(maps, masks).hit_rate() == pytest.approx((1 + 0 + 0.25) / 3)
    flat = np.mean([masks[k].mean() for k in (0, 1, 2)])
    assert MapMeasures.of(np.ones(masks.shape), masks).hit_rate() == pytest.approx(flat)
    assert MapMeasures.of(masks.astype(np.float32), masks).hit_rate() == 1
    assert MapMeasures.of(maps, np.zeros_like(masks)).hit_rate() is None


@pytest.mark.parametrize("metric", ["pixel_auroc", "pixel_ap", "aupro", "within_image_auroc"])
@pytest.mark.parametrize("filled", [False, True])
def test_no_value_where_all_pixels_are_of_one_kind(metric: str, filled: bool) -> None:
    measures = MapMeasures.of(np.zeros((2, 4, 4)), np.full((2, 4, 4), filled))
    assert measures.by_name()[metric] is None


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"one \(N, H, W\) shape"):
        MapMeasures.of(np.zeros((2, 4, 4)), np.zeros((1, 4, 4), dtype=bool))
    with pytest.raises(ValueError, match=r"one \(H, W\) shape"):
        MapMeasures().add(np.zeros((4, 4)), np.zeros((4, 5), dtype=bool))


def smooth_maps(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """Maps and masks such as a network makes, (12, 96, 96): smooth, with a long tail."""
    rng = np.random.default_rng(4)
    masks = np.zeros((12, 96, 96), dtype=bool)
    for mask in masks[::2]:
        top, left = rng.integers(10, 60, 2)
        mask[top : top + 20, left : left + 25] = True
        mask[2:5, 80:84] = True
    noise = gaussian_filter(rng.normal(size=masks.shape), (0, 3, 3))
    maps = noise / noise.std() + 1.2 * gaussian_filter(masks.astype(float), (0, 4, 4))
    if kind == "positive, a long tail":
        maps = np.exp(2 * maps) * 1e-3
    elif kind == "within a narrow range":
        maps = 0.5 + 1e-2 * maps
    return maps.astype(np.float32), masks


@pytest.mark.parametrize("kind", ["either sign", "positive, a long tail", "within a narrow range"])
def test_curves_of_real_like_maps_are_exact_to_a_ten_thousandth(kind: str) -> None:
    maps, masks = smooth_maps(kind)
    measures = MapMeasures.of(maps, masks)
    labels, values = masks.ravel(), maps.ravel()
    assert measures.pixel_auroc() == pytest.approx(roc_auc_score(labels, values), abs=1e-4)
    assert measures.pixel_ap() == pytest.approx(average_precision_score(labels, values), abs=1e-4)
    # The overlap of lesions is a sensitivity whose pixels weigh by the size of their lesion.
    sizes = [np.bincount(label(mask)[0].ravel()) for mask in masks]
    lesions = sum(len(size) - 1 for size in sizes)
    weights = np.ones(masks.shape)
    for weight, mask, size in zip(weights, masks, sizes, strict=True):
        weight[mask] = 1 / (lesions * size[label(mask)[0][mask]])
    rates, overlaps, _ = roc_curve(
        labels, values, sample_weight=weights.ravel(), drop_intermediate=False
    )
    grid = np.append(rates[rates <= 0.3], 0.3)
    expected = np.trapezoid(np.interp(grid, rates, overlaps), grid) / 0.3
    assert measures.aupro() == pytest.approx(expected, abs=1e-4)


@pytest.fixture
def images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Inputs, true twins and translations, (3, 2, 6, 5) each."""
    images, twins, translated = np.random.default_rng(1).random((3, 3, 2, 6, 5))
    return images, twins, translated


def errors_of(*stacks: np.ndarray) -> dict[str, float | None]:
    errors = TwinErrors()
    for parts in zip(*stacks, strict=True):
        errors.add(*parts)
    return errors.by_name()


def naive_psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray) -> float:
    errors = [
        (a[n, c, h, w] - b[n, c, h, w]) ** 2 for n, c, h, w in np.ndindex(a.shape) if where[n, h, w]
    ]
    return float(10 * np.log10(1 / np.mean(errors)))


def test_psnr_of_known_errors() -> None:
    a = np.zeros((1, 1, 2, 2))
    b = np.array([[[[0.1, 0.1], [1.0, 1.0]]]])
    top = np.array([[[True, True], [False, False]]])
    errors = errors_of(a, b, a, top)
    assert errors["psnr_inside"] == errors["psnr_inside_input"] == pytest.approx(20.0)
    assert errors["psnr_outside"] == pytest.approx(0.0)
    assert errors_of(a, b, b, top)["psnr_inside"] == float("inf")


def test_twin_error_equals_naive_loops(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    x, twins, translated = images
    masks = np.zeros((3, 6, 5), dtype=bool)
    masks[0, 1:3, 1:4] = masks[1, 5, 4] = True
    errors = errors_of(x, twins, translated, masks)
    assert errors == {
        "psnr_inside": pytest.approx(naive_psnr(translated, twins, masks)),
        "psnr_inside_input": pytest.approx(naive_psnr(x, twins, masks)),
        "psnr_outside": pytest.approx(naive_psnr(translated, twins, ~masks)),
        "healthy_change": pytest.approx(float(np.mean(np.abs(x[2] - translated[2])))),
    }


def test_twin_error_without_lesions_or_without_healthy_images(
    images: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    no_lesion = errors_of(*images, np.zeros((3, 6, 5), dtype=bool))
    assert no_lesion["psnr_inside"] is None
    assert no_lesion["psnr_inside_input"] is None
    assert no_lesion["healthy_change"] is not None
    all_lesion = errors_of(*images, np.ones((3, 6, 5), dtype=bool))
    assert all_lesion["psnr_outside"] is None
    assert all_lesion["healthy_change"] is None
    assert all_lesion["psnr_inside"] is not None
