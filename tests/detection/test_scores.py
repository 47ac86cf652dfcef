import numpy as np
import pytest
import torch
from scipy import ndimage

from a2bgan.detection.scores import SCORES, check_score, map_scores, scores_of
from a2bgan.errors import InputError
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.method import Facts


def score(name: str, difference: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return map_scores(difference, mask, [name])[name]


@pytest.fixture
def difference() -> torch.Tensor:
    return torch.rand(3, 64, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def mask() -> torch.Tensor:
    return torch.rand(3, 64, 48, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_mean(difference: torch.Tensor) -> None:
    expected = [float(np.mean(image)) for image in difference.numpy()]
    np.testing.assert_allclose(score("mean", difference, None).numpy(), expected)


def test_smooth_max_is_the_maximum_after_a_gaussian_of_a_32nd_of_the_shorter_side(
    difference: torch.Tensor,
) -> None:
    expected = [
        ndimage.gaussian_filter(image, 48 / 32, mode="mirror", truncate=4).max()
        for image in difference.numpy()
    ]
    np.testing.assert_allclose(score("smooth-max", difference, None).numpy(), expected)


def test_smooth_max_prefers_a_compact_lesion_to_a_brighter_single_pixel() -> None:
    difference = torch.zeros(2, 64, 64)
    difference[0, 30:38, 30:38] = 0.4
    difference[1, 30, 30] = 1.0
    lesion, noise = score("smooth-max", difference, None)
    assert lesion > 2 * noise


def test_top_k_averages_the_highest_twentieth(difference: torch.Tensor) -> None:
    expected = [np.sort(image, axis=None)[-154:].mean() for image in difference.numpy()]
    assert 154 == -(-64 * 48 // 20)
    np.testing.assert_allclose(score("top-k", difference, None).numpy(), expected)


def test_mask_weighted(difference: torch.Tensor, mask: torch.Tensor) -> None:
    expected = [
        np.average(image, weights=weights)
        for image, weights in zip(difference.numpy(), mask.numpy(), strict=True)
    ]
    np.testing.assert_allclose(score("mask-weighted", difference, mask).numpy(), expected)


def test_mask_weighted_is_zero_where_nothing_was_repainted(difference: torch.Tensor) -> None:
    scores = score("mask-weighted", difference, torch.zeros_like(difference))
    assert torch.equal(scores, torch.zeros(3, dtype=torch.float64))


def test_mask_weighted_needs_a_mask(difference: torch.Tensor) -> None:
    with pytest.raises(InputError, match="needs a method with a mask"):
        score("mask-weighted", difference, None)


@pytest.mark.parametrize("name", SCORES)
def test_every_score_of_a_constant_map_is_that_constant(name: str) -> None:
    difference = torch.tensor([0.0, 0.3, 1.0])[:, None, None].expand(3, 32, 32)
    scores = score(name, difference, torch.full((3, 32, 32), 0.5))
    assert scores.tolist() == pytest.approx([0.0, 0.3, 1.0], abs=1e-6)


@pytest.mark.parametrize("name", SCORES)
def test_an_image_scores_the_same_in_any_batch(
    name: str, difference: torch.Tensor, mask: torch.Tensor
) -> None:
    together = score(name, difference, mask)
    alone = [score(name, difference[i : i + 1], mask[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(together, torch.cat(alone))


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError) as caught:
        check_score("median", A2BGAN.facts)
    assert str(caught.value) == (
        "unknown score 'median': A2B-GAN has mean, discriminator, evidence, combined, "
        "smooth-max, top-k, mask-weighted"
    )


def test_a_mask_that_would_broadcast_is_refused(difference: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"one \(N, H, W\) shape"):
        score("mask-weighted", difference, torch.ones(1, 64, 48))


def test_a_method_offers_its_papers_score_first_and_its_maps_scores_if_it_has_maps() -> None:
    of_map = ("smooth-max", "top-k", "mask-weighted")
    assert scores_of(A2BGAN.facts) == ("mean", "discriminator", "evidence", "combined", *of_map)
    mapless = Facts("X", "Y 2020", score="latent", own_scores=("latent", "image"), makes_map=False)
    assert scores_of(mapless) == ("latent", "image")


def test_without_a_mask_the_scores_that_need_none_are_left() -> None:
    assert set(map_scores(torch.rand(2, 8, 8), None)) == set(SCORES) - {"mask-weighted"}
