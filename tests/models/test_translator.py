import numpy as np
import pytest
import torch
from torch import nn

from a2bgan.models.translator import Translator


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def papers_parameters(w: int, channels: int, blocks: int) -> int:
    """Convolutions without bias, instance norm with two numbers a channel, by the paper's list."""
    stem = 49 * channels * w + 2 * w
    down = 16 * w * 2 * w + 4 * w + 16 * 2 * w * 4 * w + 8 * w
    residual = blocks * 2 * (9 * (4 * w) ** 2 + 8 * w)
    up = 16 * 4 * w * 2 * w + 4 * w + 16 * 2 * w * w + 2 * w
    head = 49 * w * (channels + 1)
    return stem + down + residual + up + head


@pytest.mark.parametrize("channels", [1, 3])
def test_the_papers_network_has_its_parameters(channels):
    network = Translator(channels, width=64, blocks=6)
    assert count(network) == papers_parameters(64, channels, 6)
    assert 8.3e6 < count(network) < 8.5e6


@pytest.mark.parametrize("mask_start", [0.1, 0.9])
def test_in_half_precision_too_what_is_not_changed_comes_back_as_it_was(mask_start):
    network = Translator(
        1, width=4, blocks=1, intermediate="residual", mask="learned", mask_start=mask_start
    )
    network.head.weight.data[:1] = 0
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        twin, b, _ = network(x)
    torch.testing.assert_close(b, x, rtol=0, atol=0)
    torch.testing.assert_close(twin, x, rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [32, 36, 64, 100])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("upsampling", ["transposed", "bilinear"])
def test_shapes_and_ranges(size, channels, upsampling):
    network = Translator(channels, width=4, blocks=1, upsampling=upsampling)
    x = torch.rand(2, channels, size, size) * 2 - 1
    twin, b, m = network(x)
    assert twin.shape == b.shape == x.shape
    assert m.shape == (2, 1, size, size)
    assert b.abs().max() <= 1
    assert 0 <= m.min() <= m.max() <= 1


@pytest.mark.parametrize("mask", ["learned", "none"])
def test_a_residual_translator_starts_as_the_identity(mask):
    network = Translator(width=4, blocks=1, intermediate="residual", mask=mask, mask_start=0.5)
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    twin, b, m = network(x)
    torch.testing.assert_close(b, x)
    torch.testing.assert_close(twin, x)
    assert m.mean().item() == pytest.approx(0.5 if mask == "learned" else 1.0, abs=0.1)


@pytest.mark.parametrize("intermediate", ["residual", "tanh"])
@pytest.mark.parametrize("start", [0.05, 0.5, 0.9])
def test_the_mask_starts_where_it_is_told(start, intermediate):
    torch.manual_seed(0)
    network = Translator(width=4, blocks=1, intermediate=intermediate, mask_start=start)
    mask = network(torch.rand(4, 1, 32, 32)).mask
    assert mask.mean().item() == pytest.approx(start, abs=0.05)


def test_the_papers_layers():
    network = Translator(channels=3, width=64, blocks=6)
    kinds = (nn.Conv2d, nn.ConvTranspose2d)
    layers = [layer for layer in network.modules() if isinstance(layer, kinds)]
    found = [
        (type(c) is nn.ConvTranspose2d, c.in_channels, c.out_channels, c.kernel_size, c.stride)
        for c in layers
    ]
    one, two, three, four, seven = ((n, n) for n in (1, 2, 3, 4, 7))
    assert found == [
        (False, 3, 64, seven, one),
        (False, 64, 128, four, two),
        (False, 128, 256, four, two),
        *[(False, 256, 256, three, one)] * 12,
        (True, 256, 128, four, two),
        (True, 128, 64, four, two),
        (False, 64, 4, seven, one),
    ]
    assert all(layer.bias is None for layer in layers)
    norms = [layer for layer in network.modules() if isinstance(layer, nn.InstanceNorm2d)]
    assert [norm.num_features for norm in norms] == [c.out_channels for c in layers[:-1]]
    assert all(norm.affine for norm in norms)
    assert sum(isinstance(layer, nn.ReLU) for layer in network.modules()) == 5 + 6


def test_the_papers_output_is_equation_1_of_the_heads_two_parts():
    torch.manual_seed(0)
    network = Translator(channels=3, width=4, blocks=1).double()
    x = torch.rand(2, 3, 32, 32, dtype=torch.float64) * 2 - 1
    twin, b, m = network(x)
    raw = network.head(network.body(x)).detach().numpy()
    image, mask = np.tanh(raw[:, :3]), (np.tanh(raw[:, 3:]) + 1) / 2
    np.testing.assert_allclose(b.detach(), image)
    np.testing.assert_allclose(m.detach(), mask)
    np.testing.assert_allclose(twin.detach(), image * mask + x.numpy() * (1 - mask))


@pytest.mark.parametrize("mask", ["learned", "none"])
@pytest.mark.parametrize("coarsening", [2, 3])
def test_a_coarse_residual_translator_starts_as_the_identity_too(coarsening, mask):
    network = Translator(
        width=4, blocks=1, intermediate="residual", mask=mask, mask_start=0.5, coarsening=coarsening
    )
    x = torch.rand(2, 1, 48, 48) * 2 - 1
    twin, b, m = network(x)
    assert torch.equal(b, x)
    torch.testing.assert_close(twin, x)
    assert m.shape == (2, 1, 48, 48)


def test_a_coarse_translator_sees_means_of_squares_and_its_output_is_resized():
    torch.manual_seed(0)
    network = Translator(
        3, width=4, blocks=1, upsampling="bilinear", intermediate="residual", coarsening=2
    ).double()
    network.head.weight.data.normal_(0, 0.1)
    x = torch.rand(2, 3, 32, 48, dtype=torch.float64) * 2 - 1
    with torch.no_grad():
        twin, b, m = network(x)
        means = x.numpy().reshape(2, 3, 16, 2, 24, 2).mean(axis=(3, 5))
        coarse = network.head(network.body(torch.from_numpy(means))).numpy()
    # Centres of pixels lie a quarter of a coarse pixel beside those of coarse pixels.
    for axis in (2, 3):
        n = coarse.shape[axis]
        before = np.take(coarse, np.clip(np.arange(n) - 1, 0, None), axis)
        after = np.take(coarse, np.clip(np.arange(n) + 1, None, n - 1), axis)
        both = np.stack([0.75 * coarse + 0.25 * before, 0.75 * coarse + 0.25 * after], axis + 1)
        coarse = both.reshape(*coarse.shape[:axis], 2 * n, *coarse.shape[axis + 1 :])
    delta, mask = coarse[:, :3], (np.tanh(coarse[:, 3:]) + 1) / 2
    np.testing.assert_allclose(b, x.numpy() + delta)
    np.testing.assert_allclose(m, mask)
    np.testing.assert_allclose(twin, b.numpy() * mask + x.numpy() * (1 - mask))


def test_coarsening_adds_no_weights_and_one_is_none():
    plain, one, two = (
        Translator(width=4, blocks=1, **more) for more in ({}, {"coarsening": 1}, {"coarsening": 2})
    )
    for network in (one, two):
        network.load_state_dict(plain.state_dict())
    x = torch.rand(2, 1, 32, 32) * 2 - 1
    with torch.no_grad():
        for expected, found in zip(plain(x), one(x), strict=True):
            assert torch.equal(found, expected)
        assert not torch.equal(two(x).healthy, plain(x).healthy)
