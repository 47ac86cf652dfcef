"""ALAD's networks: a generator, an encoder, and three discriminators, each of pairs."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from a2bgan.models.dcgan import Decoder, Encoder, initialise_normal, stage_widths, strided_features

DROPOUT = 0.2
START = 0.01
"""Standard deviation of the weights before training."""


def alad_generator(channels: int, width: int, size: int, latent: int) -> Decoder:
    """G: (N, latent) to images, the transposed convolutions of DCGAN."""
    generator = Decoder(channels, width, size, latent, bias=True)
    initialise_normal(generator, START)
    return generator


def alad_encoder(channels: int, width: int, size: int, latent: int) -> Encoder:
    """E: images to (N, latent), spectrally normalised up to its head."""
    encoder = Encoder(channels, width, size, latent, first_norm=True, bias=True)
    initialise_normal(encoder, START)
    normalise_spectrally(encoder.features)
    return encoder


def normalise_spectrally(*networks: nn.Module) -> None:
    """Divide each convolution's and linear layer's weight by its largest singular value."""
    for network in networks:
        for module in [*network.modules()]:
            if isinstance(module, nn.Conv2d | nn.Linear):
                spectral_norm(module)


class JointDiscriminator(nn.Module):
    """D_xz: tells (x, E(x)), high, from (G(z), z)."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        self.image = strided_features(channels, width, size, bias=True)
        self.latent = nn.ModuleList([nn.Linear(latent, 4 * width), nn.Linear(4 * width, 4 * width)])
        features = 16 * stage_widths(width, size)[-1]
        self.both = nn.Linear(features + 4 * width, 8 * width)
        self.head = nn.Linear(8 * width, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.image, self.latent, self.both)

    def forward(self, x: Tensor, z: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """(N, C, S, S), (N, latent) to logits (N,); ``noise`` drives dropout, None is without."""
        for layer in self.latent:
            z = _dropout(F.leaky_relu(layer(z), 0.2), noise)
        both = self.both(torch.cat([self.image(x).flatten(1), z], dim=1))
        return self.head(_dropout(F.leaky_relu(both, 0.2), noise)).flatten()  # type: ignore[no-any-return]


class ImagePairDiscriminator(nn.Module):
    """D_xx: tells (x, x), high, from (x, G(E(x))); its features are what ALAD scores with."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(
            [nn.Conv2d(2 * channels, width // 2, 5, 2, 2), nn.Conv2d(width // 2, width, 5, 2, 2)]
        )
        self.head = nn.Linear(width * (size // 4) ** 2, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.convolutions)

    def forward(
        self, x: Tensor, other: Tensor, noise: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Two (N, C, S, S) to logits (N,) and the features (N, F) under them."""
        features = torch.cat([x, other], dim=1)
        for layer in self.convolutions:
            features = _dropout(F.leaky_relu(layer(features), 0.2), noise)
        features = features.flatten(1)
        return self.head(features).flatten(), features


class LatentPairDiscriminator(nn.Module):
    """D_zz: tells (z, z), high, from (z, E(G(z)))."""

    def __init__(self, latent: int, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(2 * latent, width // 2), nn.Linear(width // 2, width // 4)]
        )
        self.head = nn.Linear(width // 4, 1)
        initialise_normal(self, START)
        normalise_spectrally(self.layers)

    def forward(self, z: Tensor, other: Tensor, noise: torch.Generator | None = None) -> Tensor:
        """Two (N, latent) to logits (N,)."""
        y = torch.cat([z, other], dim=1)
        for layer in self.layers:
            y = _dropout(F.leaky_relu(layer(y), 0.2), noise)
        return self.head(y).flatten()  # type: ignore[no-any-return]


def _dropout(x: Tensor, noise: torch.Generator | None) -> Tensor:
    """Dropout from a given source, so that a resumed training drops what it would have dropped."""
    if noise is None:
        return x
    kept = torch.rand(x.shape, generator=noise, device=x.device) >= DROPOUT
    return x * kept / (1 - DROPOUT)
