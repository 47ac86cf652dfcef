import numpy as np
import pytest
from sklearn.metrics import f1_score

from a2bgan.detection.measures.regions import dice, label_regions, region_f1


@pytest.fixture
def masks() -> np.ndarray:
    """Two lesions in image 0, one in image 1, none in image 2."""
    masks = np.zeros((3, 8, 8), dtype=bool)
    masks[0, 0:2, 0:2] = masks[0, 5:8, 5:8] = True
    masks[1, 3, 3] = masks[1, 4, 4] = True  # touch by a corner
    return masks


def test_regions_touch_by_a_corner_and_never_across_images(masks: np.ndarray) -> None:
    masks[1, 0, 0] = True  # below, in the stack, lies a lesion of image 0
    regions, count = label_regions(masks)
    assert count == 4
    assert regions[1, 3, 3] == regions[1, 4, 4] != 0
    assert regions[0, 0, 0] != regions[1, 0, 0]
    assert not regions[~masks].any()


def test_dice_is_the_f1_of_pixels(masks: np.ndarray) -> None:
    found = np.random.default_rng(0).random(masks.shape) < 0.3
    assert dice(found, masks) == pytest.approx(f1_score(masks.ravel(), found.ravel()))
    assert dice(masks, masks) == 1
    assert dice(~masks, masks) == 0


def test_f1_of_regions_counts_both_kinds_of_error(masks: np.ndarray) -> None:
    found = np.zeros_like(masks)
    found[0, 1, 1] = True  # one pixel is enough
    assert region_f1(found, masks) == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))
    found[2, 4, 4] = True  # in an image without any
    assert region_f1(found, masks) == pytest.approx(2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3))
    found[0, 2, 4] = True  # beside a lesion, not in it
    found[1, 3:5, 3:5] = True
    assert region_f1(found, masks) == pytest.approx(2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3))


def test_two_marks_in_one_lesion_are_both_right_and_find_it_once(masks: np.ndarray) -> None:
    found = np.zeros_like(masks)
    found[0, 5, 5] = found[0, 7, 7] = True
    assert region_f1(found, masks) == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))


def test_ends(masks: np.ndarray) -> None:
    nothing = np.zeros_like(masks)
    assert region_f1(masks, masks) == 1
    assert region_f1(nothing, masks) == dice(nothing, masks) == 0
    assert region_f1(masks, nothing) == dice(masks, nothing) == 0
    assert region_f1(nothing, nothing) is dice(nothing, nothing) is None


@pytest.mark.parametrize("measure", [dice, region_f1])
def test_shapes_must_agree(measure, masks: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"one \(N, H, W\) shape"):
        measure(masks[:1], masks)
