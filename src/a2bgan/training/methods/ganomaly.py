"""GANomaly: an anomaly is what a twice-encoded reconstruction does not keep.

S. Akcay, A. Atapour-Abarghouei, T. P. Breckon, "GANomaly: Semi-Supervised Anomaly Detection via
Adversarial Training", ACCV 2018. The paper's: networks, the three losses of the generator and their
weights, Adam, initialisation, and the score, the L1 norm of z - z'. Where the paper is silent, its
released code is followed: learning rate, feature matching and encoder losses as mean squares, D's
loss as half the sum of two cross-entropies, both networks' steps from the same forward pass of G.

What differs:

- Scoring uses the running statistics of batch norm; the released code, those of the test batch.
- The released code scores with the mean square of z - z', scaled to [0, 1] over the test set.
- The released code gives D new weights when its loss falls below 1e-5. The paper does not mention
  it, and features can be matched against a D that is always right; it is left out.
- With ``method.widest`` layers of images above 64 pixels a side end doubling at so many times the
  first; `ganomaly-paper` lets them double down to 4 x 4, as the released code does.
- Batches and augmentation are the project's; the length is in steps, not in epochs.
"""

from typing import Literal, NamedTuple

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.dcgan import WIDEST, Decoder, Encoder, initialise_normal
from a2bgan.training import losses
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod, detached, frozen
from a2bgan.training.methods.sections import AdamBetas, MethodConfig, Section


class GANomalyLossConfig(Section):
    """Section ``method.loss``: weights of the generator's losses."""

    adversarial: float = Field(
        ge=0, le=bounds.WEIGHT, description="w_adv, matching of D's features"
    )
    contextual: float = Field(ge=0, le=bounds.WEIGHT, description="w_con, mean |x - G(x)|")
    encoder: float = Field(ge=0, le=bounds.WEIGHT, description="w_enc, z against z'")


class GANomalyConfig(MethodConfig):
    """Section ``method`` for GANomaly."""

    name: Literal["ganomaly"]
    width: int = Field(ge=1, le=bounds.CHANNELS, description="channels of the first convolution")
    widest: int | None = Field(
        WIDEST,
        ge=1,
        le=bounds.CHANNELS,
        description="no layer is wider than so many times the first; null: no such limit",
    )
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in z")
    loss: GANomalyLossConfig
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas


class Reconstruction(NamedTuple):
    """Output of the generator for a batch.

    image: (N, C, S, S) in [-1, 1], G(x). latent, image_latent: (N, latent), the bottleneck of x
    and what the second encoder makes of G(x).
    """

    image: Tensor
    latent: Tensor
    image_latent: Tensor


class EncoderDecoderEncoder(nn.Module):
    """G_E, G_D and E of the paper; the two encoders share their shape, not their weights."""

    def __init__(
        self, channels: int, width: int, size: int, latent: int, widest: int | None = WIDEST
    ) -> None:
        super().__init__()
        self.encoder = Encoder(channels, width, size, latent, widest=widest)
        self.decoder = Decoder(channels, width, size, latent, widest=widest)
        self.second_encoder = Encoder(channels, width, size, latent, widest=widest)
        initialise_normal(self, 0.02, 0.02)

    def forward(self, x: Tensor) -> Reconstruction:
        """(N, C, S, S) in [-1, 1]."""
        latent = self.encoder(x)
        image = self.decoder(latent)
        return Reconstruction(image, latent, self.second_encoder(image))


class FeatureDiscriminator(nn.Module):
    """DCGAN's discriminator, which also shows its last features."""

    def __init__(self, channels: int, width: int, size: int, widest: int | None = WIDEST) -> None:
        super().__init__()
        self.body = Encoder(channels, width, size, latent=1, widest=widest)
        initialise_normal(self, 0.02, 0.02)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, S, S) to logits (N,), high for real, and the features (N, W, 4, 4) under them."""
        features = self.body.features(x)
        return self.body.head(features).flatten(), features


class GANomaly(StepMethod):
    """Encoder-decoder-encoder G and a discriminator D whose features G matches.

    Images must have a side that is a power of two, 32 or more.
    """

    Config = GANomalyConfig
    facts = Facts("GANomaly", "Akcay et al., ACCV 2018", score="latent", own_scores=("latent",))

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c = self.config
        return {
            "generator": EncoderDecoderEncoder(channels, c.width, size, c.latent, c.widest),
            "discriminator": FeatureDiscriminator(channels, c.width, size, c.widest),
        }

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step of G, then one of D, on B alone; both see the same reconstructions."""
        w, discriminator = self.config.loss, self.wrapped["discriminator"]
        made: Reconstruction = self.wrapped["generator"](healthy)
        real_logit, real_features = discriminator(healthy)

        with frozen(discriminator):
            _, features = discriminator(made.image)
        terms = {
            "adversarial": F.mse_loss(features, real_features.detach()),
            "contextual": F.l1_loss(made.image, healthy),
            "encoder": F.mse_loss(made.image_latent, made.latent),
        }
        total = (
            w.adversarial * terms["adversarial"]
            + w.contextual * terms["contextual"]
            + w.encoder * terms["encoder"]
        )
        self._descend(total, "generator")

        fake_logit, _ = discriminator(made.image.detach())
        d_loss = losses.discriminator_adversarial("logistic", real_logit, fake_logit) / 2
        self._descend(d_loss, "discriminator")
        return detached(terms, "g_") | {"d_adversarial": d_loss.detach()}

    def _find(self, x: Tensor, version: str) -> Finding:
        made: Reconstruction = self.networks["generator"](x)
        scores = {"latent": (made.latent - made.image_latent).abs().sum(dim=1)}
        return Finding(difference_map(x, made.image), made.image, scores=scores)
