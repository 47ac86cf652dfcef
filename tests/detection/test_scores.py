import numpy as np
import pytest
import torch
from scipy import ndimage

from a2bgan.detection.scores import SCORES, image_scores
from a2bgan.errors import InputError


@pytest.fixture
def difference() -> torch.Tensor:
    return torch.rand(3, 64, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.rand(3, 64, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_mean(difference: torch.Tensor) -> None:
    expected = [float(np.mean(image)) for image in difference.numpy()]
    np.testing.assert_allclose(image_scores("mean", difference, None).numpy(), expected)


def test_smooth_max_is_the_maximum_after_a_gaussian_of_a_32nd_of_the_shorter_side(
    difference: torch.Tensor,
) -> None:
    expected = [
        ndimage.gaussian_filter(image, 48 / 32, mode="mirror", truncate=4).max()
        for image in difference.numpy()
    ]
    np.testing.assert_allclose(image_scores("smooth-max", difference, None).numpy(), expected)


def test_smooth_max_prefers_a_compact_lesion_to_a_brighter_single_pixel() -> None:
    difference = torch.zeros(2, 64, 64)
    difference[0, 30:38, 30:38] = 0.4
    difference[1, 30, 30] = 1.0
    lesion, noise = image_scores("smooth-max", difference, None)
    assert lesion > 2 * noise


def test_top_k_averages_the_highest_twentieth(difference: torch.Tensor) -> None:
    expected = [np.sort(image, axis=None)[-154:].mean() for image in difference.numpy()]
    assert 154 == -(-64 * 48 // 20)
    np.testing.assert_allclose(image_scores("top-k", difference, None).numpy(), expected)


def test_mask_weighted(difference: torch.Tensor, mask: torch.Tensor) -> None:
    expected = [
        np.average(image, weights=weights)
        for image, weights in zip(difference.numpy(), mask.numpy(), strict=True)
    ]
    np.testing.assert_allclose(image_scores("mask-weighted", difference, mask).numpy(), expected)


def test_mask_weighted_is_zero_where_nothing_was_repainted(difference: torch.Tensor) -> None:
    scores = image_scores("mask-weighted", difference, torch.zeros_like(difference))
    assert torch.equal(scores, torch.zeros(3, dtype=torch.float64))


def test_mask_weighted_needs_a_mask(difference: torch.Tensor) -> None:
    with pytest.raises(InputError, match="needs a method with a mask"):
        image_scores("mask-weighted", difference, None)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_a_constant_map_is_that_constant(name: str) -> None:
    difference = torch.tensor([0.0, 0.3, 1.0])[:, None, None].expand(3, 32, 32)
    scores = image_scores(name, difference, torch.full((3, 32, 32), 0.5))
    assert scores.tolist() == pytest.approx([0.0, 0.3, 1.0], abs=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_an_image_scores_the_same_in_any_batch(
    name: str, difference: torch.Tensor, mask: torch.Tensor
) -> None:
    together = image_scores(name, difference, mask)
    alone = [image_scores(name, difference[i : i + 1], mask[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_an_unknown_name_lists_the_known_ones(difference: torch.Tensor) -> None:
    with pytest.raises(InputError) as caught:
        image_scores("median", difference, None)
    assert str(caught.value) == (
        "unknown score 'median': choose one of mean, smooth-max, top-k, mask-weighted"
    )


def test_a_mask_that_would_broadcast_is_refused(difference: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"one \(N, H, W\) shape"):
        image_scores("mask-weighted", difference, torch.ones(1, 64, 48))
