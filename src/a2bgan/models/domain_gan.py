"""The two networks of StarGAN, which Fixed-Point GAN keeps: both are told or tell a domain."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from a2bgan.models.discriminator import Discriminator
from a2bgan.models.translator import Intermediate, Translator, Upsampling


class DomainTranslator(nn.Module):
    """A2B-GAN's translator without a mask, with labels of the wanted domain as more channels.

    The paper's G at ``width=64, blocks=6, upsampling="transposed"``.

    Args:
        channels: of the image, 1 or 3.
        labels: numbers that say which domain is wanted.
        width, blocks, upsampling: as of `a2bgan.models.translator.Translator`.
        intermediate: ``tanh`` (StarGAN's x' = tanh(.)) or ``additive`` (Fixed-Point GAN's
            x' = tanh(x + .)).
    """

    def __init__(
        self,
        channels: int,
        labels: int,
        width: int,
        blocks: int,
        upsampling: Upsampling,
        intermediate: Intermediate,
    ) -> None:
        super().__init__()
        network = Translator(channels, width, blocks, upsampling, intermediate, "none")
        _, *others = network.body
        stem = nn.Conv2d(channels + labels, width, 7, 1, 3, bias=False)
        self.body = nn.Sequential(stem, *others)
        self.head = network.head
        self.additive = intermediate == "additive"

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] in the domains (N, labels); H and W multiples of 4."""
        labels = domain[:, :, None, None].expand(-1, -1, *x.shape[2:])
        change: Tensor = self.head(self.body(torch.cat([x, labels.to(x)], dim=1)))
        return torch.tanh(x + change if self.additive else change)


class Judgement(NamedTuple):
    """What the discriminator says of a batch.

    real: (N, 1, h, w), high where a patch looks real. domain: (N, labels), logits.
    """

    real: Tensor
    domain: Tensor


class DomainDiscriminator(nn.Module):
    """A2B-GAN's discriminator, with a second head, as large as what is left of the image, that
    tells the domain. The paper's D at ``width=64, depth=6``."""

    def __init__(self, channels: int, labels: int, width: int, depth: int, size: int) -> None:
        super().__init__()
        network = Discriminator(channels, width, depth)
        self.body, self.head = network.body, network.head
        left = max(1, math.floor(size / 2**depth))
        self.domain = nn.Conv2d(width * 2 ** (depth - 1), labels, left, bias=False)

    def forward(self, x: Tensor) -> Judgement:
        """Images (N, C, size, size) in [-1, 1]."""
        features = self.body(x)
        return Judgement(self.head(features), self.domain(features).flatten(1))
