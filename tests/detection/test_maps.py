import numpy as np
import pytest
import torch

from a2bgan.detection.maps import difference_map


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
