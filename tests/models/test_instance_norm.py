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


@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
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


def test_half_precision_stays_half_with_exact_sums():
    theirs, ours = pair(torch.float32)
    x = torch.randn(2, 5, 64, 64) + 3
    found = ours(x.bfloat16())
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), theirs(x), rtol=0.05, atol=0.05)
    constant = ours(torch.full((1, 5, 64, 64), 3.0).bfloat16())
    torch.testing.assert_close(constant[0, :, 0, 0].float(), ours.bias.detach().bfloat16().float())
