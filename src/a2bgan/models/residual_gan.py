"""The residual WGAN-GP of Gulrajani et al. (NeurIPS 2017) that f-AnoGAN trains, with an encoder."""

import math
from collections.abc import Callable
from typing import Literal

from torch import Tensor, nn

from a2bgan.models.dcgan import WIDEST, stage_widths

Norm = Callable[[int], nn.Module]


def layer_norm(channels: int) -> nn.Module:
    """Over an image's channels and pixels together, with a scale and an offset for each channel."""
    return nn.GroupNorm(1, channels)


class ResamplingBlock(nn.Module):
    """Norm, ReLU and a 3x3 convolution, twice, beside a 1x1 shortcut; doubles or halves the side.

    ``up`` resamples (nearest neighbours) before the first convolution, ``down`` (means of 2x2)
    after the second; the shortcut always at its smaller side.
    """

    def __init__(self, cin: int, cout: int, resample: Literal["up", "down"], norm: Norm) -> None:
        super().__init__()
        up = resample == "up"
        middle = cout if up else cin
        first = nn.Conv2d(cin, middle, 3, 1, 1, bias=False)
        second = nn.Conv2d(middle, cout, 3, 1, 1)
        enlarge, shrink = nn.Upsample(scale_factor=2), nn.AvgPool2d(2)
        self.body = nn.Sequential(
            *(norm(cin), nn.ReLU(), *([enlarge] if up else []), first),
            *(norm(middle), nn.ReLU(), second, *([] if up else [shrink])),
        )
        # A 1x1 convolution and nearest neighbours commute; the smaller side is cheaper.
        pointwise = nn.Conv2d(cin, cout, 1)
        self.shortcut = nn.Sequential(*((pointwise, enlarge) if up else (shrink, pointwise)))
        for convolution, gain in ((first, math.sqrt(2)), (second, math.sqrt(2)), (pointwise, 1.0)):
            _initialise(convolution, gain)

    def forward(self, x: Tensor) -> Tensor:
        return self.shortcut(x) + self.body(x)  # type: ignore[no-any-return]


class ResidualGenerator(nn.Module):
    """Latent vectors to images: a linear layer to 4 x 4, then a block for each doubling."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        widths = stage_widths(width, size)
        self.widest = WIDEST * width
        self.input = nn.Linear(latent, 16 * self.widest)
        blocks, cin = [], self.widest
        for cout in reversed(widths):
            blocks.append(ResamplingBlock(cin, cout, "up", nn.BatchNorm2d))
            cin = cout
        output = nn.Conv2d(cin, channels, 3, 1, 1)
        self.body = nn.Sequential(*blocks, nn.BatchNorm2d(cin), nn.ReLU(), output, nn.Tanh())
        _initialise(self.input, 1.0)
        _initialise(output, math.sqrt(2))

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent), standard normal, to (N, C, S, S) in [-1, 1]."""
        return self.body(self.input(z).unflatten(1, (self.widest, 4, 4)))  # type: ignore[no-any-return]


class ResidualCritic(nn.Module):
    """D: a block for each halving down to 4 x 4, with layer norm, then a linear layer."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.body = _downwards(channels, width, size, layer_norm)
        self.head = nn.Linear(16 * WIDEST * width, 1)
        _initialise(self.head, 1.0)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) to values (N,), high for real, and the features (N, F) under them."""
        features = self.body(x)
        return self.head(features).flatten(), features


class ResidualEncoder(nn.Module):
    """Shaped like the critic, with batch norm; tanh keeps z within [-1, 1]."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        self.body = _downwards(channels, width, size, nn.BatchNorm2d)
        self.head = nn.Linear(16 * WIDEST * width, latent)
        _initialise(self.head, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] to (N, latent) in [-1, 1]."""
        return self.head(self.body(x)).tanh()  # type: ignore[no-any-return]


def _downwards(channels: int, width: int, size: int, norm: Norm) -> nn.Sequential:
    """(N, channels, size, size) to (N, 16 * WIDEST * width)."""
    first, *others = stage_widths(width, size)
    stem = nn.Conv2d(channels, first, 3, 1, 1)
    _initialise(stem, 1.0)
    layers: list[nn.Module] = [stem]
    cin = first
    for cout in (*others, WIDEST * width):
        layers.append(ResamplingBlock(cin, cout, "down", norm))
        cin = cout
    return nn.Sequential(*layers, nn.Flatten())


def _initialise(layer: nn.Conv2d | nn.Linear, gain: float) -> None:
    """Glorot's uniform start; a gain of sqrt(2) is He's for a layer that keeps its width."""
    nn.init.xavier_uniform_(layer.weight, gain)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
