import numpy as np
import pytest
from sklearn.metrics import f1_score

from a2bgan.detection.measures.regions import RegionAgreement, label_regions


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
    assert RegionAgreement.of(found, masks).dice() == pytest.approx(
        f1_score(masks.ravel(), found.ravel())
    )
    assert RegionAgreement.of(masks, masks).dice() == 1
    assert RegionAgreement.of(~masks, masks).dice() == 0


def test_f1_of_regions_counts_both_kinds_of_error(masks: np.ndarray) -> None:
    found = np.zeros_like(masks)
    found[0, 1, 1] = True  # one pixel is enough
    assert RegionAgreement.of(found, masks).region_f1() == pytest.approx(
        2 * 1 * (1 / 3) / (1 + 1 / 3)
    )
    found[2, 4, 4] = True  # in an image without any
    assert RegionAgreement.of(found, masks).region_f1() == pytest.approx(
        2 * (1 / 2) * (1 / 3) / (1 / 2 + 1 / 3)
    )
    found[0, 2, 4] = True  # beside a lesion, not in it
    found[1, 3:5, 3:5] = True
    assert RegionAgreement.of(found, masks).region_f1() == pytest.approx(
        2 * (2 / 4) * (2 / 3) / (2 / 4 + 2 / 3)
    )


def test_two_marks_in_one_lesion_are_both_right_and_find_it_once(masks: np.ndarray) -> None:
    found = np.zeros_like(masks)
    found[0, 5, 5] = found[0, 7, 7] = True
    assert RegionAgreement.of(found, masks).region_f1() == pytest.approx(
        2 * 1 * (1 / 3) / (1 + 1 / 3)
    )


def test_ends(masks: np.ndarray) -> None:
    nothing = np.zeros_like(masks)
    assert RegionAgreement.of(masks, masks).region_f1() == 1
    assert (
        RegionAgreement.of(nothing, masks).region_f1()
        == RegionAgreement.of(nothing, masks).dice()
        == 0
    )
    assert (
        RegionAgreement.of(masks, nothing).region_f1()
        == RegionAgreement.of(masks, nothing).dice()
        == 0
    )
    assert (
        RegionAgreement.of(nothing, nothing).region_f1()
        is RegionAgreement.of(nothing, nothing).dice()
        is None
    )


def test_shapes_must_agree(masks: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"one \(H, W\) shape"):
        RegionAgreement().add(masks[0, 1:], masks[0])
