"""Streamed Gaussians and the bank against plain float64 computations on all images at once."""

import numpy as np
import pytest
import torch

from a2bgan.errors import InputError
from a2bgan.models import fitted
from a2bgan.models.fitted import MemoryBank, PositionGaussians


def stream(n: int, offset: float) -> torch.Tensor:
    """Features (n, 7, 3, 5) of correlated channels around ``offset``."""
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(7, 7, generator=generator)
    x = torch.einsum("ndhw,de->nehw", torch.randn(n, 7, 3, 5, generator=generator), mixing)
    return x + offset


def expected_distances(seen: np.ndarray, x: np.ndarray) -> np.ndarray:
    out = np.empty((len(x), 3, 5))
    for i in range(3):
        for j in range(5):
            samples = seen[:, :, i, j].astype(np.float64)
            covariance = np.cov(samples, rowvar=False) + 0.01 * np.eye(7)
            delta = x[:, :, i, j] - samples.mean(0)
            out[:, i, j] = np.sqrt(np.sum(delta @ np.linalg.inv(covariance) * delta, 1))
    return out


@pytest.mark.parametrize(("offset", "rtol"), [(0, 1e-4), (1000, 2e-3)])
@pytest.mark.parametrize("chunk", [2**22, 100])
def test_one_pass_is_as_good_as_all_at_once(monkeypatch, offset, rtol, chunk):
    """Also far from zero, where sums of squares in float32 would have lost everything."""
    monkeypatch.setattr(fitted, "CHUNK", chunk)
    x = stream(60, offset)
    gaussians = PositionGaussians(0.01)
    for start, end in ((0, 7), (7, 8), (8, 40), (40, 50)):
        gaussians.update(x[start:end])
    gaussians.close()
    found = gaussians.distances(x[40:])
    expected = expected_distances(x[:50].double().numpy(), x[40:].double().numpy())
    np.testing.assert_allclose(found.numpy(), expected, rtol=rtol)


def test_fewer_images_than_channels_are_enough():
    x = stream(3, 0)
    gaussians = PositionGaussians(0.01)
    gaussians.update(x)
    gaussians.close()
    expected = expected_distances(x.double().numpy(), stream(20, 0).double().numpy())
    np.testing.assert_allclose(gaussians.distances(stream(20, 0)).numpy(), expected, rtol=1e-3)


def test_other_gaussians_take_what_was_saved_whatever_its_size():
    gaussians, other = PositionGaussians(0.01), PositionGaussians(0.01)
    gaussians.update(stream(10, 0))
    gaussians.close()
    other.load_state_dict(gaussians.state_dict())
    x = stream(2, 1)
    assert torch.equal(other.distances(x), gaussians.distances(x))


def test_a_regularisation_that_rounding_swallows_is_named():
    gaussians = PositionGaussians(1e-12)
    gaussians.update(1000 * stream(3, 0))
    with pytest.raises(InputError, match=r"method\.regularisation=1e-12: too small") as error:
        gaussians.close()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("at_once", [2**15, 299, 7])
def test_nearest_are_exact_even_where_squares_cancel(at_once, monkeypatch):
    monkeypatch.setattr(fitted, "PATCHES_AT_ONCE", at_once)
    bank = MemoryBank()
    patches = torch.rand(300, 16, generator=torch.Generator().manual_seed(0)) + 100
    bank.fill(patches)
    queries = patches[:40] + 1e-3
    distances, numbers = bank.nearest(queries, 5)
    gaps = torch.cdist(queries.double(), patches.double())
    expected = gaps.topk(5, largest=False).values
    torch.testing.assert_close(distances.double().sort().values, expected, rtol=1e-3, atol=1e-4)
    assert torch.equal(numbers[:, 0], torch.arange(40))


def test_no_more_are_found_than_there_are():
    bank = MemoryBank()
    bank.fill(torch.rand(3, 4))
    assert bank.nearest(torch.rand(2, 4), 9)[0].shape == (2, 3)


def test_another_bank_takes_what_was_saved_whatever_its_size():
    bank, other = MemoryBank(), MemoryBank()
    bank.fill(torch.rand(30, 4))
    other.fill(torch.rand(3, 4))
    queries = torch.rand(2, 4)
    other.nearest(queries)
    other.load_state_dict(bank.state_dict())
    assert torch.equal(other.nearest(queries)[1], bank.nearest(queries)[1])
