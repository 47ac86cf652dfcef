import numpy as np
import pytest
import torch

from a2bgan.models.blend import difference_map, healthy_translation, masked_reconstruction


def test_equations_1_and_2_pixel_by_pixel():
    rng = np.random.default_rng(0)
    x, b = rng.uniform(-1, 1, (2, 2, 3, 4, 4))
    m = rng.uniform(0, 1, (2, 1, 4, 4))
    twin = healthy_translation(*map(torch.from_numpy, (x, b, m))).numpy()
    back = masked_reconstruction(*map(torch.from_numpy, (x, b, m))).numpy()
    for n, c, i, j in np.ndindex(x.shape):
        share = m[n, 0, i, j]
        assert np.isclose(twin[n, c, i, j], b[n, c, i, j] * share + x[n, c, i, j] * (1 - share))
        assert np.isclose(back[n, c, i, j], x[n, c, i, j] * share + b[n, c, i, j] * (1 - share))


def test_difference_is_the_halved_mean_over_channels() -> None:
    generator = torch.Generator().manual_seed(0)
    x, twin = (torch.rand(2, 4, 3, 5, 6, generator=generator) * 2 - 1).unbind()
    expected = np.zeros((4, 5, 6))
    for n, c, h, w in np.ndindex(*x.shape):
        expected[n, h, w] += abs(float(x[n, c, h, w]) - float(twin[n, c, h, w])) / 2 / 3
    np.testing.assert_allclose(difference_map(x, twin).numpy(), expected, atol=1e-6)


def test_difference_spans_zero_to_one() -> None:
    x = torch.ones(1, 1, 4, 4)
    assert torch.equal(difference_map(x, x), torch.zeros(1, 4, 4))
    assert torch.equal(difference_map(x, -x), torch.ones(1, 4, 4))


@pytest.mark.parametrize("shape", [(1, 1, 4, 4), (2, 3, 4, 4), (4, 4)])
def test_shapes_that_would_broadcast_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"one \(N, C, H, W\) shape"):
        difference_map(torch.zeros(2, 1, 4, 4), torch.zeros(shape))


def test_maps_without_channels_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one \(N, C, H, W\) shape"):
        difference_map(torch.zeros(2, 4, 4), torch.zeros(2, 4, 4))
