"""GANomaly's encoder-decoder-encoder and the discriminator whose features it matches."""

from typing import NamedTuple

from torch import Tensor, nn

from a2bgan.models.dcgan import Decoder, Encoder, initialise_normal


class Reconstruction(NamedTuple):
    """What the generator makes of a batch.

    image: (N, C, S, S) in [-1, 1], G(x). latent, image_latent: (N, latent), the bottleneck of x
    and what the second encoder makes of G(x).
    """

    image: Tensor
    latent: Tensor
    image_latent: Tensor


class EncoderDecoderEncoder(nn.Module):
    """G_E, G_D and E of the paper; the two encoders share their shape, not their weights."""

    def __init__(self, channels: int, width: int, size: int, latent: int) -> None:
        super().__init__()
        self.encoder = Encoder(channels, width, size, latent)
        self.decoder = Decoder(channels, width, size, latent)
        self.second_encoder = Encoder(channels, width, size, latent)
        initialise_normal(self, 0.02, 0.02)

    def forward(self, x: Tensor) -> Reconstruction:
        """(N, C, S, S) in [-1, 1]."""
        latent = self.encoder(x)
        image = self.decoder(latent)
        return Reconstruction(image, latent, self.second_encoder(image))


class FeatureDiscriminator(nn.Module):
    """DCGAN's discriminator, which also shows its last features."""

    def __init__(self, channels: int, width: int, size: int) -> None:
        super().__init__()
        self.body = Encoder(channels, width, size, latent=1)
        initialise_normal(self, 0.02, 0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) to logits (N,), high for real, and the features (N, W, 4, 4) under them."""
        features = self.body.features(x)
        return self.body.head(features).flatten(), features
