import numpy as np
import torch

from a2bgan.models.feature_critics import FeatureCritics

SHAPES = ((3, 8, 8), (5, 4, 4), (7, 2, 2))


def maps(seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(2, *shape, generator=generator) for shape in SHAPES]


def test_every_place_of_every_scale_has_an_output():
    critics = FeatureCritics([shape[0] for shape in SHAPES], 6)
    assert [out.shape for out in critics(maps())] == [(2, 1, 8, 8), (2, 1, 4, 4), (2, 1, 2, 2)]
    expected = sum(c * 6 + 6 + 9 * 6 * 6 + 6 + 6 + 1 for c, _, _ in SHAPES)
    assert sum(p.numel() for p in critics.parameters()) == expected


def test_a_place_is_judged_by_itself_and_its_neighbours():
    critics = FeatureCritics([shape[0] for shape in SHAPES], 6)
    features = maps()
    changed = [f.clone() for f in features]
    changed[0][0, :, 2, 5] += 10
    before, after = critics(features), critics(changed)
    differs = (before[0] != after[0])[:, 0].numpy()
    expected = np.zeros((2, 8, 8), bool)
    expected[0, 1:4, 4:7] = True
    np.testing.assert_array_equal(differs, expected)
    for one, other in zip(before[1:], after[1:], strict=True):
        assert torch.equal(one, other)
