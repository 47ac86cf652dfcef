"""Measures of maps that knowing the usual places of lesions does not raise."""

import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import roc_auc_score

from a2bgan.detection.measures.localisation import MapMeasures
from a2bgan.detection.measures.position import PositionMatching, position_alone, position_warning


def lesions(count: int, side: int, seed: int = 0) -> np.ndarray:
    """Squares whose middle is near that of the image; every fourth image has none."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, side, side), dtype=bool)
    size = side // 3
    for mask in (masks[k] for k in range(count) if k % 4 != 3):
        top, left = np.clip(rng.normal(side / 3, side / 10, 2), 0, side - size).astype(int)
        mask[top : top + size, left : left + size] = True
    return masks


def matched(maps: np.ndarray, masks: np.ndarray, at_least: int = 4) -> float | None:
    """The measure where each image is a patient."""
    found = PositionMatching.of(maps, masks, np.arange(len(maps))).result(at_least)
    return None if found is None else found.auroc


def naive(maps: np.ndarray, masks: np.ndarray, at_least: int) -> float:
    sick = masks.any(axis=(1, 2))
    aurocs, weights = [], []
    for row, column in np.ndindex(maps.shape[1:]):
        inside = masks[sick, row, column]
        if min(inside.sum(), (~inside).sum()) >= at_least:
            aurocs.append(roc_auc_score(inside, maps[sick, row, column]))
            weights.append(inside.sum())
    return float(np.average(aurocs, weights=weights))


@pytest.mark.parametrize("at_least", [1, 4])
@pytest.mark.parametrize("decimals", [8, 1])
def test_it_equals_scikit_learns_auroc_at_every_place(at_least: int, decimals: int) -> None:
    masks = lesions(28, 10)
    maps = (np.random.default_rng(1).random(masks.shape) + 0.3 * masks).round(decimals)
    expected = naive(maps, masks, at_least)
    assert matched(maps, masks, at_least) == pytest.approx(expected)
    single = maps.astype(np.float32)
    assert matched(single, masks, at_least) == pytest.approx(expected)


def test_beyond_the_grid_cells_are_compared() -> None:
    masks = lesions(20, 130)[:, :, :70]  # cells of 3 x 2, the last row of one pixel's height
    maps = np.random.default_rng(2).random(masks.shape) + 0.2 * masks
    cells = [range(0, 130, 3), range(0, 70, 2)]
    means = [
        np.array(
            [[[s[t : t + 3, c : c + 2].mean() for c in cells[1]] for t in cells[0]] for s in x]
        )
        for x in (maps, masks)
    ]
    expected = naive(means[0].astype(np.float32), means[1] >= 0.5, 4)
    # An image whose lesion is too small for a cell would still be one with a lesion.
    assert masks.any(axis=(1, 2)).sum() == (means[1] >= 0.5).any(axis=(1, 2)).sum()
    assert matched(maps, masks) == pytest.approx(expected)


def test_a_map_of_anatomy_alone_does_well_on_pixels_and_gets_a_half_here() -> None:
    masks = lesions(80, 32)
    rows, columns = np.mgrid[:32, :32]
    middle = np.exp(-((rows - 15.5) ** 2 + (columns - 15.5) ** 2) / 200)
    same = np.broadcast_to(middle, masks.shape)
    assert MapMeasures.of(same, masks).pixel_auroc() > 0.8
    assert matched(same, masks) == 0.5
    noisy = same + 0.1 * np.random.default_rng(0).normal(size=masks.shape)
    found = PositionMatching.of(noisy, masks, np.arange(80)).result()
    assert found.interval[0] < 0.5 < found.interval[1]
    assert matched(masks + 0.1 * same, masks) == 1


def test_no_value_where_no_place_has_enough_of_each_kind() -> None:
    masks = lesions(28, 10)
    maps = np.zeros(masks.shape)
    assert matched(maps, masks, at_least=15) is None
    assert matched(maps, np.zeros_like(masks)) is None
    assert matched(maps, np.ones_like(masks)) is None
    with pytest.raises(ValueError, match=r"one \(H, W\) shape"):
        PositionMatching().add(maps[0, 1:], masks[0], "a")


def test_the_interval_is_as_wide_as_a_bootstrap_over_patients() -> None:
    masks = lesions(160, 12)
    rng = np.random.default_rng(3)
    patients = np.arange(160) // 2
    # Images of one patient resemble each other.
    noise = ndimage.gaussian_filter(rng.normal(size=(80, 12, 12)), (0, 3, 3))[patients]
    maps = masks * 0.1 + noise
    found = PositionMatching.of(maps, masks, patients).result()
    drawn = []
    for _ in range(300):
        people = rng.integers(80, size=80)
        images = (2 * people[:, None] + np.arange(2)).ravel()
        drawn.append(matched(maps[images], masks[images]))
    width = found.interval[1] - found.interval[0]
    assert width == pytest.approx(2 * 1.96 * np.std(drawn), rel=0.15)
    assert sum(found.interval) / 2 == pytest.approx(found.auroc)
    apart = PositionMatching.of(maps, masks, np.arange(160)).result().interval
    assert apart[1] - apart[0] != pytest.approx(width)
    assert PositionMatching.of(maps, masks, np.zeros(160)).result().interval is None


def test_position_alone_is_the_smoothed_mean_of_other_patients_lesions() -> None:
    masks = lesions(9, 20)
    patients = np.array(["a", "b", "a", "c", "d", "d", "e", "a", "f"])
    guesses = np.stack(list(position_alone(masks, patients)))
    assert guesses.dtype == np.float32
    for image, who in enumerate(patients):
        others = [m for m, p in zip(masks, patients, strict=True) if p != who and m.any()]
        expected = ndimage.gaussian_filter(np.mean(others, axis=0), 20 / 32)
        np.testing.assert_allclose(guesses[image], expected, atol=1e-6)


def test_position_alone_never_sees_the_lesion_of_the_patient() -> None:
    masks = lesions(12, 20)
    patients = np.arange(12) // 2
    before = np.stack(list(position_alone(masks, patients)))
    masks[:2] = masks[:2, ::-1, ::-1]
    after = np.stack(list(position_alone(masks, patients)))
    np.testing.assert_array_equal(before[:2], after[:2])
    assert (before[2:] != after[2:]).any()
    assert not any(
        guess.any() for guess in position_alone(masks[:2], patients[:2])
    )  # nobody else: flat


def test_position_alone_is_a_yardstick_above_chance() -> None:
    masks = lesions(60, 32)
    guesses = np.stack(list(position_alone(masks, np.arange(60))))
    measures = MapMeasures.of(guesses, masks)
    assert measures.pixel_auroc() > 0.8
    assert measures.within_image_auroc() > 0.85
    assert measures.hit_rate() > 0.5


def measures(own: float | None, guessed: float | None, **matched: object) -> dict[str, object]:
    return {
        "within_image_auroc": own,
        "position_alone": {"within_image_auroc": guessed},
        "position_matched_auroc": 0.7,
        "position_matched_auroc_ci": [0.6, 0.8],
        **matched,
    }


def test_a_map_is_warned_of_where_either_measure_is_no_better_than_position() -> None:
    assert position_warning(measures(0.9, 0.8)) is None
    text = position_warning(measures(0.8, 0.8))
    assert text.startswith("the map does not point at lesions better than a guess of the usual")
    assert text.endswith("place: AUROC of pixels within an image 0.800, of position alone 0.800")
    text = position_warning(measures(0.9, 0.8, position_matched_auroc_ci=[0.5, 0.9]))
    assert text.endswith(
        "place: AUROC between images at the same place 0.700 (0.500 to 0.900), by chance 0.5"
    )


def test_what_is_not_known_is_not_warned_of() -> None:
    assert position_warning({"auroc": 0.9}) is None
    none = {"position_matched_auroc": None, "position_matched_auroc_ci": None}
    assert position_warning(measures(None, None, **none)) is None
    assert position_warning(measures(0.9, 0.8, **none)) is None
    # Without an interval the value itself is looked at.
    assert position_warning(measures(0.9, 0.8, position_matched_auroc_ci=None)) is None
    no_better = {"position_matched_auroc": 0.5, "position_matched_auroc_ci": None}
    assert position_warning(measures(0.9, 0.8, **no_better)).endswith("place 0.500, by chance 0.5")
