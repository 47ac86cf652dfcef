"""Convolutional autoencoders with a fully connected bottleneck: plain, variational, ensembles."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from a2bgan.errors import InputError


class Encoder(nn.Sequential):
    """4x4 stride-2 convolutions, then two fully connected layers; batch norm, ReLU.

    Args:
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a multiple of two to the number of convolutions.
        widths: channels after each convolution.
        hidden: units between the last convolution and the code.
        outputs: numbers in a code.

    Raises InputError for another size, and in training for a batch of one image.
    """

    def __init__(
        self, channels: int, size: int, widths: Sequence[int], hidden: int, outputs: int
    ) -> None:
        layers: list[nn.Module] = []
        for cin, cout in pairwise((channels, *widths)):
            layers += [
                nn.Conv2d(cin, cout, 4, 2, 1, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU(inplace=True),
            ]
        super().__init__(
            *layers,
            nn.Flatten(),
            nn.Linear(widths[-1] * _smallest_side(size, widths) ** 2, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, outputs),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, S, S) in [-1, 1] to codes (N, outputs)."""
        if self.training and len(x) < 2:
            raise InputError("train.batch_size=1: batch normalisation needs 2 images or more")
        return super().forward(x)  # type: ignore[no-any-return, no-untyped-call]


class Decoder(nn.Sequential):
    """The mirror image of an `Encoder`, from codes (N, latent) to (N, C, S, S), unbounded."""

    def __init__(
        self, channels: int, size: int, widths: Sequence[int], hidden: int, latent: int
    ) -> None:
        side = _smallest_side(size, widths)
        layers: list[nn.Module] = []
        for cin, cout in pairwise(reversed(widths)):
            layers += [
                nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False),
                nn.BatchNorm2d(cout),
                nn.ReLU(inplace=True),
            ]
        super().__init__(
            nn.Linear(latent, hidden),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, widths[-1] * side**2),
            nn.Unflatten(1, (widths[-1], side, side)),
            *layers,
            nn.ConvTranspose2d(widths[0], channels, 4, 2, 1, bias=False),
        )


class Autoencoder(nn.Module):
    """An `Encoder` to ``latent`` numbers and a `Decoder` back.

    With widths 16, 32, 64, 64, ``hidden=2048`` and ``latent=16`` at 64 x 64 the autoencoder of DDAD
    (Cai et al. 2022): 4.5 million parameters.
    """

    def __init__(
        self, channels: int, size: int, widths: Sequence[int], hidden: int, latent: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, size, widths, hidden, latent)
        self.decoder = Decoder(channels, size, widths, hidden, latent)

    def forward(self, x: Tensor) -> Tensor:
        """Images (N, C, S, S) in [-1, 1] to their reconstructions, unbounded."""
        return self.decoder(self.encoder(x))  # type: ignore[no-any-return]


class Posterior(NamedTuple):
    """Output of a variational autoencoder for a batch.

    reconstruction: (N, C, S, S), unbounded.
    mean, log_variance: (N, latent), of the normal distribution q(z | x).
    """

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor


class VariationalAutoencoder(nn.Module):
    """An autoencoder whose code is a normal distribution."""

    def __init__(
        self, channels: int, size: int, widths: Sequence[int], hidden: int, latent: int
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, size, widths, hidden, 2 * latent)
        self.decoder = Decoder(channels, size, widths, hidden, latent)

    def forward(self, x: Tensor, noise: Tensor | None = None) -> Posterior:
        """Decode z = mean + deviation * noise of images (N, C, S, S) in [-1, 1].

        ``noise`` is standard normal, (N, latent); without it z is the mean.
        """
        mean, log_variance = self.encoder(x).chunk(2, dim=1)
        z = mean if noise is None else mean + torch.exp(log_variance / 2) * noise
        return Posterior(self.decoder(z), mean, log_variance)


class Ensemble(nn.Module):
    """Networks that look at the same images, each with its own weights."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """Stack the outputs of the K members for ``x``, (K, ...)."""
        return torch.stack([member(x) for member in self.members])


def _smallest_side(size: int, widths: Sequence[int]) -> int:
    halving = 1 << len(widths)
    if size % halving:
        raise InputError(
            f"data.size={size}: an autoencoder with {len(widths)} method.widths needs a multiple "
            f"of {halving}"
        )
    return size // halving
