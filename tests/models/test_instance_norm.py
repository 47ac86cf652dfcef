import pytest
import torch
from torch import nn

from a2bgan.models.instance_norm import InstanceNorm2d


def pair(dtype=torch.float64):
    theirs, ours = nn.InstanceNorm2d(5, affine=True), InstanceNorm2d(5)
    torch.manual_seed(0)
    nn.init.normal_(theirs.weight)
    nn.init.normal_(theirs.bias)
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(dtype), ours.to(dtype)


LAYOUTS = pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])


@LAYOUTS
@pytest.mark.parametrize("side", [7, 40])
@torch.no_grad()
def test_without_gradients_it_is_pytorchs(layout, side):
    theirs, ours = pair()
    x = torch.randn(3, 5, 6 * side, side, dtype=torch.float64) * 4 + 2
    found = ours(x.contiguous(memory_format=layout))
    torch.testing.assert_close(found, theirs(x))
    assert found.is_contiguous(memory_format=layout)


@torch.no_grad()
def test_a_small_spread_about_a_large_mean_keeps_its_digits():
    ours = InstanceNorm2d(5)
    x = torch.randn(2, 5, 64, 64, dtype=torch.float64) + 300
    found = ours(x.float().contiguous(memory_format=torch.channels_last))
    expected = nn.InstanceNorm2d(5)(x.float().double())
    torch.testing.assert_close(found.double(), expected, rtol=0, atol=2e-3)


@LAYOUTS
def test_it_is_pytorchs(layout):
    theirs, ours = pair()
    x = torch.randn(3, 5, 6, 7, dtype=torch.float64) * 4 + 2
    x = x.contiguous(memory_format=layout).requires_grad_()
    gradient = torch.randn(3, 5, 6, 7, dtype=torch.float64)
    expected, found = theirs(x), ours(x)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=layout)
    for p, q in zip(
        torch.autograd.grad(found, (x, ours.weight, ours.bias), gradient),
        torch.autograd.grad(expected, (x, theirs.weight, theirs.bias), gradient),
        strict=True,
    ):
        torch.testing.assert_close(p, q)


@pytest.mark.parametrize("gradients", [False, True])
def test_half_precision_stays_half_with_exact_sums(gradients):
    theirs, ours = pair(torch.float32)
    x = torch.randn(2, 5, 64, 64) + 3
    with torch.set_grad_enabled(gradients), torch.autocast("cpu", torch.bfloat16):
        found = ours(x.bfloat16())
        constant = ours(torch.full((1, 5, 64, 64), 3.0).bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), theirs(x.bfloat16().float()), rtol=0.01, atol=0.01)
    # But for the last digit of bfloat16.
    torch.testing.assert_close(constant[0, :, 0, 0].float(), ours.bias, rtol=0.008, atol=0)
