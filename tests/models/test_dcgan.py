"""Shapes and sizes against those that the published networks have."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from a2bgan.errors import InputError
from a2bgan.models.dcgan import Decoder, Encoder, stage_widths
from a2bgan.training.config import load_config
from a2bgan.training.methods import METHODS
from a2bgan.training.methods.alad import (
    ImagePairDiscriminator,
    JointDiscriminator,
    LatentPairDiscriminator,
    alad_encoder,
    alad_generator,
)
from a2bgan.training.methods.fanogan import (
    ResamplingBlock,
    ResidualCritic,
    ResidualEncoder,
    ResidualGenerator,
)
from a2bgan.training.methods.ganomaly import EncoderDecoderEncoder, FeatureDiscriminator


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize("size", [16, 36, 96])
def test_sizes_that_do_not_halve_to_4_are_refused(size):
    with pytest.raises(InputError, match=rf"data\.size={size}"):
        stage_widths(8, size)


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 64), (1, 256)])
def test_encoder_and_decoder_are_each_others_shape(channels, size):
    x = torch.rand(2, channels, size, size)
    z = Encoder(channels, 2, size, 7)(x)
    assert z.shape == (2, 7)
    twin = Decoder(channels, 2, size, 7)(z)
    assert twin.shape == x.shape
    assert twin.abs().max() <= 1


def test_ganomaly_is_as_large_as_its_released_code():
    """At 32 pixels, 3 channels, width 64, z 100: counted in the released networks."""
    assert count(EncoderDecoderEncoder(3, 64, 32, 100)) == 3_206_528
    assert count(FeatureDiscriminator(3, 64, 32)) == 663_296


def test_ganomaly_of_the_paper_doubles_down_to_4_x_4_at_256():
    """The released code's 144 million at 256 pixels, by formula; meta weights take no memory."""
    config = load_config("ganomaly-paper")
    with torch.device("meta"):
        networks = METHODS["ganomaly"](config.method, 1, 256).networks
    widths = [64, 128, 256, 512, 1024, 2048]
    convolutions = 16 * sum(cin * cout for cin, cout in pairwise([1, *widths]))
    features = convolutions + 2 * sum(widths[1:])  # no norm after the first
    decoder = convolutions + 2 * sum(widths) + 16 * 100 * 2048
    generator = 2 * (features + 16 * 2048 * 100) + decoder
    assert round(generator / 1e6) == 144
    assert count(networks["generator"]) == generator
    assert count(networks["discriminator"]) == features + 16 * 2048
    # The preset of minutes, and runs from before the setting, stay at eight times the first.
    assert stage_widths(16, 256) == [16, 32, 64, 128, 128, 128]
    assert load_config("ganomaly").method.widest == 8


def convolution(cin: int, cout: int, kernel: int) -> int:
    return cout * (cin * kernel**2 + 1)


def test_alad_is_as_large_as_its_table_of_layers():
    norms = 2 * (128 + 256 + 512)
    image = convolution(3, 128, 4) + convolution(128, 256, 4) + convolution(256, 512, 4)
    assert count(alad_encoder(3, 128, 32, 100)) == image + norms + convolution(512, 100, 4)
    transposed = sum(
        cin * cout * 16 + cout for cin, cout in ((100, 512), (512, 256), (256, 128), (128, 3))
    )
    assert count(alad_generator(3, 128, 32, 100)) == transposed + norms
    joint = convolution(100, 512, 1) + convolution(512, 512, 1)
    joint += convolution(512 * 16 + 512, 1024, 1) + 1025
    assert count(JointDiscriminator(3, 128, 32, 100)) == image + norms - 2 * 128 + joint
    pair = convolution(6, 64, 5) + convolution(64, 128, 5) + 128 * 8 * 8 + 1
    assert count(ImagePairDiscriminator(3, 128, 32)) == pair
    assert count(LatentPairDiscriminator(100, 128)) == 201 * 64 + 65 * 32 + 33


def test_spectral_norms_are_one():
    torch.manual_seed(0)
    network = JointDiscriminator(1, 4, 32, 5)
    for _ in range(200):  # each pass improves the estimates
        network(torch.rand(2, 1, 32, 32), torch.rand(2, 5))
    layers = [m for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    norms = [torch.linalg.matrix_norm(m.weight.flatten(1), 2).item() for m in layers]
    assert len(norms) == 7
    assert norms[:-1] == pytest.approx([1] * 6, abs=1e-3)  # all but the head


def test_dropout_follows_its_source():
    network = ImagePairDiscriminator(1, 4, 32).eval()
    x, y = torch.rand(2, 3, 1, 32, 32)

    def judged(seed: int | None) -> torch.Tensor:
        noise = None if seed is None else torch.Generator().manual_seed(seed)
        return network(x, y, noise)[0]

    assert torch.equal(judged(1), judged(1))
    assert not torch.equal(judged(1), judged(2))
    assert not torch.equal(judged(1), judged(None))


def test_the_residual_gan_is_as_large_as_its_layers():
    """At 64 pixels and width 64, as f-AnoGAN trains it: four blocks 8-8-4-2-1 and 1-2-4-8-8."""

    def block(cin: int, cout: int, middle: int) -> int:
        norms = 2 * cin + 2 * middle
        return norms + 9 * cin * middle + convolution(middle, cout, 3) + convolution(cin, cout, 1)

    up = [(512, 512), (512, 256), (256, 128), (128, 64)]
    generator = 129 * 8192 + sum(block(a, b, b) for a, b in up) + 128 + convolution(64, 1, 3)
    assert count(ResidualGenerator(1, 64, 64, 128)) == generator
    down = [(64, 128), (128, 256), (256, 512), (512, 512)]
    trunk = convolution(1, 64, 3) + sum(block(a, b, a) for a, b in down)
    assert count(ResidualCritic(1, 64, 64)) == trunk + 8193
    assert count(ResidualEncoder(1, 64, 64, 128)) == trunk + 8193 * 128


@pytest.mark.parametrize(("channels", "size"), [(1, 32), (3, 128)])
def test_the_residual_gan_fits_every_size(channels, size):
    x = torch.rand(2, channels, size, size)
    z = ResidualEncoder(channels, 2, size, 5)(x)
    assert z.abs().max() <= 1
    assert ResidualGenerator(channels, 2, size, 5)(z).shape == x.shape
    value, features = ResidualCritic(channels, 2, size)(x)
    assert value.shape == (2,)
    assert features.shape == (2, 16 * 16)


def test_blocks_resample_by_neighbours_and_means():
    for resample, side in (("up", 16), ("down", 4)):
        block = ResamplingBlock(3, 5, resample, nn.BatchNorm2d).eval()
        x = torch.rand(2, 3, 8, 8)
        first, second = (m for m in block.body if isinstance(m, nn.Conv2d))
        shortcut = next(m for m in block.shortcut if isinstance(m, nn.Conv2d))

        def up(y: torch.Tensor) -> torch.Tensor:
            return y.repeat_interleave(2, 2).repeat_interleave(2, 3)

        def down(y: torch.Tensor) -> torch.Tensor:
            return (
                y[..., ::2, ::2] + y[..., 1::2, ::2] + y[..., ::2, 1::2] + y[..., 1::2, 1::2]
            ) / 4

        relu, shrink = torch.relu, (1 + 1e-5) ** -0.5  # fresh batch norms divide by this
        if resample == "up":
            expected = second(relu(first(up(relu(x * shrink))) * shrink)) + shortcut(up(x))
        else:
            expected = down(second(relu(first(relu(x * shrink)) * shrink))) + shortcut(down(x))
        assert expected.shape == (2, 5, side, side)
        torch.testing.assert_close(block(x), expected)
