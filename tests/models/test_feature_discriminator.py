import numpy as np
import torch

from a2bgan.models.feature_discriminator import LEAST_SPREAD, FeatureCritics, RelativeFeatures

SHAPES = ((3, 8, 8), (5, 4, 4), (7, 2, 2))


def stages(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *shape, generator=generator) for shape in SHAPES]


def test_every_place_of_every_scale_has_an_output():
    critics = FeatureCritics([shape[0] for shape in SHAPES], 6)
    assert [out.shape for out in critics(stages())] == [
        (2, 1, 8, 8),
        (2, 1, 4, 4),
        (2, 1, 2, 2),
    ]
    expected = sum(c * 6 + 6 + 9 * 6 * 6 + 6 + 6 + 1 for c, _, _ in SHAPES)
    assert sum(p.numel() for p in critics.parameters()) == expected


def test_a_place_is_judged_by_itself_and_its_neighbours():
    critics = FeatureCritics([shape[0] for shape in SHAPES], 6)
    features = stages()
    changed = [f.clone() for f in features]
    changed[0][0, :, 2, 5] += 10
    before, after = critics(features), critics(changed)
    differs = (before[0] != after[0])[:, 0].numpy()
    expected = np.zeros((2, 8, 8), bool)
    expected[0, 1:4, 4:7] = True
    np.testing.assert_array_equal(differs, expected)
    for one, other in zip(before[1:], after[1:], strict=True):
        assert torch.equal(one, other)


def batch(seed: int, scale: float = 1.0) -> torch.Tensor:
    return scale * torch.randn(4, 1, 64, 64, generator=torch.Generator().manual_seed(seed))


def test_one_map_for_each_stride(pyramid):
    features = RelativeFeatures(pyramid)
    assert features.channels == (2, 3, 4)
    assert [f.shape for f in features(batch(0))] == [(4, 2, 8, 8), (4, 3, 4, 4), (4, 4, 2, 2)]


def test_a_constant_added_to_an_image_changes_nothing(pyramid):
    features = RelativeFeatures(pyramid)
    offsets = torch.tensor([1.0, -3.0, 0.2, 8.0])[:, None, None, None]
    for one, other in zip(features(batch(0)), features(batch(0) + offsets), strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=2e-5)
        assert one.abs().max() > 0.01


def test_each_channel_is_divided_by_its_spread(pyramid):
    features = RelativeFeatures(pyramid)
    features.set_spreads(pyramid(torch.cat([batch(0), batch(1, 5.0)])))
    seen = [f.double().numpy() for f in pyramid(torch.cat([batch(0), batch(1, 5.0)]))]
    x = batch(3)
    for maps, found, own in zip(seen, features(x), pyramid(x), strict=True):
        centred = maps - maps.mean(axis=(2, 3), keepdims=True)
        spread = np.sqrt((centred**2).mean(axis=(0, 2, 3))) + LEAST_SPREAD
        own = own.double().numpy()
        expected = (own - own.mean(axis=(2, 3), keepdims=True)) / spread[:, None, None]
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_stored_features_give_what_images_give(pyramid):
    features = RelativeFeatures(pyramid)
    features.set_spreads(pyramid(batch(0)))
    for one, other in zip(features(batch(1)), features.relative(pyramid(batch(1))), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_reach_the_image_and_nothing_is_learned_but_spreads(pyramid):
    features = RelativeFeatures(pyramid)
    x = batch(0).requires_grad_(True)
    sum(f.square().sum() for f in features(x)).backward()
    assert torch.count_nonzero(x.grad)
    assert not list(features.parameters())
