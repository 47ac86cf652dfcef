"""Brainomaly: A2B-GAN's successor, with an additive map in place of the mask.

Siddiquee et al., "Brainomaly: Unsupervised Neurologic Disease Detection Utilizing Unannotated
T1-weighted Brain MR Images", WACV 2024.

As in its released code: x' = tanh(x + G(x)); A2B-GAN's networks, less the mask; a critic with
gradient penalty on translated A against B; G is trained by the critic on translated A and by the
absolute difference of B from translated B (after tanh), once every two steps of D; Adam, rates,
batch and length; the score is the mean of |x - x'| / 2. Different: images of three channels get a
map of three, where the code adds one map to the three copies of a grey image; rates fall to zero
over the last quarter, where the code, by mistake, lets them fall a thousand times too slowly; the
score of a volume (the mean over its slices) is not here, as one image is one case. What the paper
selects by, AUCp, is the project's ``selection.by``. Preset `brainomaly` is narrower, upsamples
bilinearly, augments more, has higher rates, above all the critic's, and weighs identity by 3.
"""

from typing import Any, ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.discriminator import Discriminator, discriminator_depth
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.models.translator import Translation, Translator, Upsampling
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    AdamBetas,
    DecayFrom,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    Section,
    StepMethod,
    linear_decay,
)


class TranslatorConfig(Section):
    """Section ``method.translator``: the network G and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    blocks: int = Field(ge=0, le=bounds.LAYERS)
    upsampling: Upsampling
    learning_rate: float = Field(gt=0, le=bounds.RATE)


class DiscriminatorConfig(Section):
    """Section ``method.discriminator``: the network D and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    depth: int | None = Field(ge=1, le=bounds.LAYERS, description="null follows the image size")
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    steps: int = Field(ge=1, le=bounds.STEPS, description="D steps for each G step")


class BrainomalyConfig(MethodConfig):
    """Section ``method`` for Brainomaly."""

    name: Literal["brainomaly"]
    translator: TranslatorConfig
    discriminator: DiscriminatorConfig
    gradient_penalty: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_gp")
    identity: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_id")
    adam_betas: AdamBetas
    decay_from: DecayFrom


class Brainomaly(StepMethod):
    """Translator G and critic D.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.
    """

    Config: ClassVar[type[MethodConfig]] = BrainomalyConfig
    facts: ClassVar[Facts] = Facts(
        title="Brainomaly", paper="Siddiquee et al., WACV 2024", score="mean", uses_mixed=True
    )

    def __init__(self, config: BrainomalyConfig, channels: int, size: int) -> None:
        g, d = config.translator, config.discriminator
        self.config = config
        self.networks: dict[str, nn.Module] = {
            "translator": Translator(channels, g.width, g.blocks, g.upsampling, "additive", "none"),
            "discriminator": Discriminator(channels, d.width, discriminator_depth(size, d.depth)),
        }
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = {
            "translator": self.config.translator.learning_rate,
            "discriminator": self.config.discriminator.learning_rate,
        }
        wrapped = self._set_up(fabric, rates, self.config.adam_betas)
        self.translator: Any = wrapped["translator"]
        self.discriminator: Any = wrapped["discriminator"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of A of one forward pass serve both: G does not change in between.
        """
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))
        translating = (moment.step + 1) % self.config.discriminator.steps == 0
        with torch.set_grad_enabled(translating):
            x = torch.cat([mixed, healthy]) if translating else mixed
            twins = self.translator(x).healthy
        twins_a, twins_b = twins[: len(mixed)], twins[len(mixed) :]
        report = self._discriminator_step(healthy, twins_a.detach(), moment)
        return report | self._translator_step(healthy, twins_a, twins_b) if translating else report

    def _discriminator_step(
        self, healthy: Tensor, fake: Tensor, moment: Moment
    ) -> dict[str, Tensor]:
        """D learns healthy images as real and translated A as fake."""
        out = self.discriminator(torch.cat([healthy, fake]))
        real_out, fake_out = out[: len(healthy)], out[len(healthy) :]
        adversarial = losses.discriminator_adversarial("wgan-gp", real_out, fake_out)
        penalty = self._gradient_penalty("discriminator", healthy, fake, moment)
        self._descend("discriminator", adversarial + self.config.gradient_penalty * penalty)
        return {"d_gap": -adversarial.detach(), "d_gradient_penalty": penalty.detach()}

    def _translator_step(
        self, healthy: Tensor, twins_a: Tensor, twins_b: Tensor
    ) -> dict[str, Tensor]:
        """G makes A look healthy and keeps B."""
        with frozen(self.discriminator):
            adversarial = losses.translator_adversarial("wgan-gp", self.discriminator(twins_a))
            identity = losses.identity(twins_b, healthy)
            self._descend("translator", adversarial + self.config.identity * identity)
        return {"g_adversarial": adversarial.detach(), "g_identity": identity.detach()}

    @property
    def ready(self) -> bool:
        return bool(self.optimizers["translator"].state)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        translator = self.networks["translator"]
        with inference(translator):
            translation: Translation = translator(x.contiguous(memory_format=torch.channels_last))
        twin = translation.healthy
        return Finding(difference_map(x, twin), twin)
