"""Evidence of A against B, against the same in plain numpy."""

import numpy as np
import pytest
import torch

from a2bgan.models.evidence import (
    LEAST_SPREAD,
    Evidence,
    evidence_size,
    focal_score,
    on_one_grid,
    over_pixels,
    split,
    standardised,
)

IMAGES = torch.rand(3, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1


def bilinear(n: int, m: int) -> np.ndarray:
    """The matrix (m, n) that resizes n samples to m, sample centres in the middle of pixels."""
    matrix = np.zeros((m, n))
    for row in range(m):
        place = max((row + 0.5) * n / m - 0.5, 0)
        low = int(place)
        matrix[row, low] += 1 - (place - low)
        matrix[row, min(low + 1, n - 1)] += place - low
    return matrix


def grid_of(features: list[torch.Tensor]) -> np.ndarray:
    """Maps of 8 x 8, 4 x 4 and 2 x 2 places as channels on 4 x 4."""
    fine, middle, coarse = (f.numpy().astype(np.float64) for f in features)
    n, c = fine.shape[:2]
    fine = fine.reshape(n, c, 4, 2, 4, 2).mean(axis=(3, 5))
    up = bilinear(2, 4)
    return np.concatenate([fine, middle, up @ coarse @ up.T], axis=1)


def test_maps_of_several_strides_come_on_the_second_ones_grid(pyramid):
    features = pyramid(IMAGES)
    found = on_one_grid(features)
    assert found.shape == (3, 9, 4, 4)
    np.testing.assert_allclose(found, grid_of(features), atol=1e-6)


def test_features_are_split_into_what_differs_within_an_image_and_what_does_not():
    features = torch.randn(4, 5, 3, 6, generator=torch.Generator().manual_seed(1)).double()
    relative, overall = split(features)
    plain = features.numpy()
    mean = plain.mean(axis=(2, 3))
    np.testing.assert_allclose(relative, plain - mean[:, :, None, None])
    expected = np.concatenate([mean, plain.std(axis=(2, 3))], axis=1)
    np.testing.assert_allclose(overall, expected)


def test_what_is_the_same_all_over_an_image_drops_out_of_places_and_of_deviations(pyramid):
    offsets = torch.tensor([0.5, -2.0, 7.0])[:, None, None, None]
    one, other = (split(on_one_grid(pyramid(x))) for x in (IMAGES, IMAGES + offsets))
    torch.testing.assert_close(other[0], one[0], rtol=0, atol=2e-5)
    torch.testing.assert_close(other[1][:, 9:], one[1][:, 9:], rtol=0, atol=2e-5)
    assert (other[1][:, :9] - one[1][:, :9]).abs().min() > 0.01


def test_values_are_divided_by_their_spread_and_cut():
    found = standardised(torch.tensor([[1.0, -90.0], [-4.0, 90.0]]), torch.tensor([2.0, 10.0]))
    assert found.tolist() == [[0.5, -6], [-2, 6]]


@pytest.mark.parametrize(("side", "count"), [(3, 1), (8, 3), (16, 13)])
def test_the_focal_score_is_the_mean_of_the_most_suspicious_places(side, count):
    odds = torch.randn(5, side, side, generator=torch.Generator().manual_seed(2))
    expected = np.sort(odds.numpy().reshape(5, -1), axis=1)[:, -count:].mean(axis=1)
    np.testing.assert_allclose(focal_score(odds), expected, rtol=1e-5)


def test_odds_of_places_become_odds_of_pixels():
    odds = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(3)).double()
    found = over_pixels(odds, (64, 30))
    assert found.shape == (2, 64, 30)
    expected = bilinear(4, 64) @ odds.numpy() @ bilinear(3, 30).T
    np.testing.assert_allclose(found, expected)


def test_both_models_against_plain_numpy(pyramid):
    evidence = Evidence(pyramid)
    rng = np.random.default_rng(0)
    values = {
        name: rng.uniform(0.02, 1, buffer.shape) * (1 if "spread" in name else 2) - offset
        for name, buffer in evidence.named_buffers()
        if not name.startswith("backbone")
        for offset in [0 if "spread" in name or name == "weights" else 1]
    }
    assert set(values) == {
        "focal_spread", "focal_weight", "focal_bias", "diffuse_mean", "diffuse_spread",
        "diffuse_weight", "diffuse_bias", "score_mean", "score_spread", "weights", "reliability",
        "error",
    }  # fmt: skip
    for name, value in values.items():
        getattr(evidence, name).copy_(torch.as_tensor(value))
    grid = grid_of(pyramid(IMAGES))
    mean, deviation = grid.mean(axis=(2, 3)), grid.std(axis=(2, 3))
    relative = (grid - mean[:, :, None, None]) / values["focal_spread"][:, None, None]
    odds = np.einsum("nchw,c->nhw", np.clip(relative, -6, 6), values["focal_weight"])
    odds = odds + values["focal_bias"]
    whole = np.concatenate([mean, deviation], axis=1) - values["diffuse_mean"]
    whole = np.clip(whole / values["diffuse_spread"], -6, 6)
    focal = odds.reshape(3, -1).max(axis=1)  # a twentieth of 16 places is one
    diffuse = whole @ values["diffuse_weight"] + values["diffuse_bias"]
    standard = (np.stack([focal, diffuse], 1) - values["score_mean"]) / values["score_spread"]
    found = evidence(IMAGES)
    np.testing.assert_allclose(found.odds, odds, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.focal, focal, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.diffuse, diffuse, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.score, standard @ values["weights"], rtol=1e-3, atol=1e-3)


def test_every_image_is_judged_by_itself(pyramid):
    evidence = Evidence(pyramid)
    evidence.focal_weight.fill_(0.5)
    evidence.diffuse_weight.fill_(0.5)
    evidence.weights.fill_(0.5)
    for together, alone in zip(evidence(IMAGES), evidence(IMAGES[1:2]), strict=True):
        torch.testing.assert_close(together[1:2], alone)


def test_before_it_is_fitted_it_says_nothing(pyramid):
    found = Evidence(pyramid)(IMAGES)
    assert not any(value.any() for value in found)
    assert LEAST_SPREAD > 0


@pytest.mark.parametrize(
    ("size", "side"), [(32, 128), (64, 128), (96, 192), (128, 256), (512, 256)]
)
def test_images_are_looked_at_in_a_size_that_features_are_made_for(size, side):
    assert evidence_size(size) == side
