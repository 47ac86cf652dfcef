"""The discriminator D: a patch critic without normalisation."""

import math
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

Initialisation = Literal["default", "he"]


def discriminator_depth(size: int, depth: int | None) -> int:
    """Strided convolutions for images of ``size`` pixels a side.

    None follows the size, leaving a 4x4 grid of patches (6 at 256, as in the paper). A given
    depth is cut to what the size allows (at least one patch).
    """
    halvings = int(math.log2(size))
    return min(halvings - 2, 6) if depth is None else min(depth, halvings)


def he_initialise(network: nn.Module, slope: float) -> None:
    """Convolutions before LeakyReLU(slope) that keep the variance of the signal (He 2015)."""
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, a=slope)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


class HalvingConvolution(nn.Conv2d):
    """4x4 with stride 2 and padding 1, as PyTorch's; from 2x2 pixels to one as a matrix product.

    There the kernel's border, three quarters of it, meets padding alone.
    """

    def __init__(self, cin: int, cout: int) -> None:
        super().__init__(cin, cout, 4, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(N, cin, H, W) to (N, cout, H // 2, W // 2)."""
        if x.shape[2:] != (2, 2):
            return super().forward(x)
        middle = self.weight[:, :, 1:3, 1:3].flatten(1)
        return F.linear(x.flatten(1), middle, self.bias)[:, :, None, None]


class Discriminator(nn.Module):
    """PatchGAN: 4x4 stride-2 convolutions doubling the width, LeakyReLU(0.01), then 3x3 to one.

    With ``width=64, depth=6`` the paper's D: 64 doubling to 2048 channels. ``initialisation``:
    PyTorch's default, as the paper's, lets the signal shrink from layer to layer, and D begins
    with thousands of steps on a plateau; ``he`` (He 2015) keeps its variance.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        depth: int = 6,
        initialisation: Initialisation = "default",
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        cin = channels
        for i in range(depth):
            layers += [HalvingConvolution(cin, width * 2**i), nn.LeakyReLU(0.01, inplace=True)]
            cin = width * 2**i
        self.body = nn.Sequential(*layers)
        self.head = nn.Conv2d(cin, 1, 3, 1, 1, bias=False)
        if initialisation == "he":
            he_initialise(self, slope=0.01)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) in [-1, 1] to patch outputs (N, 1, h, w); high means healthy and real."""
        return self.head(self.body(x))  # type: ignore[no-any-return]
