"""The strided convolutions of DCGAN (Radford et al., ICLR 2016), as one-class GANs use them."""

from torch import Tensor, nn

from a2bgan.errors import InputError

WIDEST = 8
"""By default no layer is wider than this many times the width, however large the images are."""


def stage_widths(width: int, size: int, widest: int | None = WIDEST) -> list[int]:
    """Channels at each halving of the side, from half the size down to 4 x 4: doubling.

    widest: times the width, where doubling ends; None: it does not end. Raises InputError unless
    ``size`` is a power of two, 32 or more.
    """
    if size < 32 or size & (size - 1):
        raise InputError(
            f"data.size={size}: this method halves images down to 4 x 4; take 32, 64, 128 or 256"
        )
    factors = [2**i for i in range(size.bit_length() - 3)]
    return [width * (factor if widest is None else min(factor, widest)) for factor in factors]


def strided_features(
    channels: int,
    width: int,
    size: int,
    first_norm: bool = False,
    bias: bool = False,
    widest: int | None = WIDEST,
) -> nn.Sequential:
    """4x4 stride-2 convolutions, batch norm and LeakyReLU(0.2), from the image to 4 x 4.

    (N, channels, size, size) to (N, `stage_widths`'s last, 4, 4). The first convolution is followed
    by a batch norm only with ``first_norm``.
    """
    layers: list[nn.Module] = []
    cin = channels
    for i, cout in enumerate(stage_widths(width, size, widest)):
        layers.append(nn.Conv2d(cin, cout, 4, 2, 1, bias=bias))
        if i > 0 or first_norm:
            layers.append(nn.BatchNorm2d(cout))
        layers.append(nn.LeakyReLU(0.2, inplace=True))
        cin = cout
    return nn.Sequential(*layers)


class Encoder(nn.Module):
    """`strided_features`, then a 4x4 convolution to one vector."""

    def __init__(
        self,
        channels: int,
        width: int,
        size: int,
        latent: int,
        first_norm: bool = False,
        bias: bool = False,
        widest: int | None = WIDEST,
    ) -> None:
        super().__init__()
        self.features = strided_features(channels, width, size, first_norm, bias, widest)
        self.head = nn.Conv2d(stage_widths(width, size, widest)[-1], latent, 4, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] to (N, latent)."""
        return self.head(self.features(x)).flatten(1)  # type: ignore[no-any-return]


class Decoder(nn.Module):
    """The encoder backwards: 4x4 transposed convolutions, batch norm and ReLU; tanh at the end."""

    def __init__(
        self,
        channels: int,
        width: int,
        size: int,
        latent: int,
        bias: bool = False,
        widest: int | None = WIDEST,
    ) -> None:
        super().__init__()
        *rest, last = stage_widths(width, size, widest)
        layers: list[nn.Module] = [nn.ConvTranspose2d(latent, last, 4, bias=bias)]
        cin = last
        for cout in reversed(rest):
            layers += _norm_relu(cin)
            layers.append(nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=bias))
            cin = cout
        layers += _norm_relu(cin)
        layers.append(nn.ConvTranspose2d(cin, channels, 4, 2, 1, bias=bias))
        self.body = nn.Sequential(*layers, nn.Tanh())

    def forward(self, z: Tensor) -> Tensor:
        """(N, latent) to (N, C, S, S) in [-1, 1]."""
        return self.body(z[:, :, None, None])  # type: ignore[no-any-return]


def initialise_normal(network: nn.Module, std: float, norm_std: float = 0.0) -> None:
    """Weights N(0, std), those of batch norms N(1, norm_std), biases 0: DCGAN's start, std 0.02."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            nn.init.normal_(module.weight, 0.0, std)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, norm_std)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)


def _norm_relu(channels: int) -> list[nn.Module]:
    return [nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
