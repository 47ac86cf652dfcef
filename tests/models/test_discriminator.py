import pytest
import torch
from torch import nn

from a2bgan.models.discriminator import Discriminator, HalvingConvolution, discriminator_depth


def test_the_papers_layers():
    network = Discriminator(channels=3, width=64, depth=6)
    convolutions = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1024, 2048, 1]
    assert [c.kernel_size[0] for c in convolutions] == [4] * 6 + [3]
    assert [c.stride[0] for c in convolutions] == [2] * 6 + [1]
    slopes = {m.negative_slope for m in network.modules() if isinstance(m, nn.LeakyReLU)}
    assert slopes == {0.01}
    assert not any("Norm" in type(m).__name__ for m in network.modules())


@pytest.mark.parametrize("side", [2, 4, 6])
def test_halving_is_pytorchs_convolution_with_its_gradients(side):
    torch.manual_seed(0)
    ours = HalvingConvolution(3, 5).double()
    pytorchs = nn.Conv2d(3, 5, 4, 2, 1).double()
    pytorchs.load_state_dict(ours.state_dict())
    found = []
    for layer in (ours, pytorchs):
        x = torch.linspace(-1, 1, 2 * 3 * side**2, dtype=torch.float64).reshape(2, 3, side, side)
        x.requires_grad_(True)
        out = layer(x)
        # As in a gradient penalty: the gradient of a gradient.
        (slope,) = torch.autograd.grad(out.square().sum(), x, create_graph=True)
        slope.square().sum().backward()
        found.append([out, slope, x.grad, layer.weight.grad, layer.bias.grad])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    ("size", "asked", "depth"),
    [(256, None, 6), (512, None, 6), (128, None, 5), (64, None, 4), (32, None, 3), (100, None, 4),
     (256, 6, 6), (64, 6, 6), (32, 6, 5), (36, 9, 5)],
)  # fmt: skip
def test_depth_follows_the_size(size, asked, depth):
    assert discriminator_depth(size, asked) == depth
    out = Discriminator(1, width=2, depth=depth)(torch.zeros(2, 1, size, size))
    assert out.shape[:2] == (2, 1)
    assert min(out.shape[2:]) >= (1 if asked else 4)
