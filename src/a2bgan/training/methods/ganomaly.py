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
- Images above 64 pixels a side do not make layers wider than 8 times the first.
- Batches and augmentation are the project's; the length is in steps, not in epochs.
"""

from typing import ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.encoder_decoder_encoder import (
    EncoderDecoderEncoder,
    FeatureDiscriminator,
    Reconstruction,
)
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    Section,
    StepMethod,
)


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
    latent: int = Field(ge=1, le=bounds.UNITS, description="numbers in z")
    loss: GANomalyLossConfig
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas


class GANomaly(StepMethod):
    """Encoder-decoder-encoder G and a discriminator D whose features G matches.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels, a power of two from 32 up; InputError otherwise.
    """

    Config: ClassVar[type[MethodConfig]] = GANomalyConfig
    facts: ClassVar[Facts] = Facts(
        title="GANomaly",
        paper="Akcay et al., ACCV 2018",
        score="latent",
        own_scores=("latent",),
    )

    def __init__(self, config: GANomalyConfig, channels: int, size: int) -> None:
        self.config = config
        self.generator: nn.Module = EncoderDecoderEncoder(
            channels, config.width, size, config.latent
        )
        self.discriminator: nn.Module = FeatureDiscriminator(channels, config.width, size)
        self.networks = {"generator": self.generator, "discriminator": self.discriminator}
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = dict.fromkeys(self.networks, self.config.learning_rate)
        wrapped = self._set_up(fabric, rates, self.config.adam_betas)
        self.generator, self.discriminator = wrapped["generator"], wrapped["discriminator"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step of G, then one of D, on B alone; both see the same reconstructions."""
        w = self.config.loss
        found: Reconstruction = self.generator(healthy)
        real_logit, real_features = self.discriminator(healthy)

        with frozen(self.discriminator):
            _, features = self.discriminator(found.image)
        terms = {
            "adversarial": F.mse_loss(features, real_features.detach()),
            "contextual": F.l1_loss(found.image, healthy),
            "encoder": F.mse_loss(found.image_latent, found.latent),
        }
        self._descend(
            "generator",
            w.adversarial * terms["adversarial"]
            + w.contextual * terms["contextual"]
            + w.encoder * terms["encoder"],
        )

        fake_logit, _ = self.discriminator(found.image.detach())
        d_loss = losses.discriminator_adversarial("logistic", real_logit, fake_logit) / 2
        self._descend("discriminator", d_loss)
        return {f"g_{name}": term.detach() for name, term in terms.items()} | {
            "d_adversarial": d_loss.detach()
        }

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        network = self.networks["generator"]
        with inference(network):
            image, latent, image_latent = network(x.contiguous(memory_format=torch.channels_last))
        scores = {"latent": (latent - image_latent).abs().sum(dim=1)}
        return Finding(difference_map(x, image), image, scores=scores)
