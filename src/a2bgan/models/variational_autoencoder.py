"""A convolutional variational autoencoder."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from a2bgan.models.autoencoder import Decoder, Encoder


class Posterior(NamedTuple):
    """What a variational autoencoder says of a batch.

    reconstruction: (N, C, S, S), unbounded.
    mean, log_variance: (N, latent), of the normal distribution q(z | x).
    """

    reconstruction: Tensor
    mean: Tensor
    log_variance: Tensor


class VariationalAutoencoder(nn.Module):
    """As `a2bgan.models.autoencoder.Autoencoder`, with a normal distribution for a code."""

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
