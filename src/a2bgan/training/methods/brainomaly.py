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

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.discriminator import Discriminator, discriminator_depth
from a2bgan.models.translator import Translator
from a2bgan.training import losses
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod, frozen, linear_decay
from a2bgan.training.methods.sections import TranslationConfig


class BrainomalyConfig(TranslationConfig):
    """Section ``method`` for Brainomaly."""

    name: Literal["brainomaly"]
    gradient_penalty: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_gp")
    identity: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_id")


class Brainomaly(StepMethod):
    """Translator G and critic D."""

    Config = BrainomalyConfig
    finders = ("translator",)
    facts = Facts("Brainomaly", "Siddiquee et al., WACV 2024", uses_mixed=True)

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        g, d = self.config.translator, self.config.discriminator
        return {
            "translator": Translator(channels, g.width, g.blocks, g.upsampling, "additive", "none"),
            "discriminator": Discriminator(channels, d.width, discriminator_depth(size, d.depth)),
        }

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of A of one forward pass serve both: G does not change in between.
        """
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))
        translating = (moment.step + 1) % self.config.discriminator.steps == 0
        with torch.set_grad_enabled(translating):
            x = torch.cat([mixed, healthy]) if translating else mixed
            twins = self.wrapped["translator"](x).healthy
        twins_a, twins_b = twins[: len(mixed)], twins[len(mixed) :]
        report = self._discriminator_step(healthy, twins_a.detach(), moment)
        return report | self._translator_step(healthy, twins_a, twins_b) if translating else report

    def _discriminator_step(
        self, healthy: Tensor, fake: Tensor, moment: Moment
    ) -> dict[str, Tensor]:
        """D learns healthy images as real and translated A as fake."""
        out = self.wrapped["discriminator"](torch.cat([healthy, fake]))
        real_out, fake_out = out[: len(healthy)], out[len(healthy) :]
        adversarial = losses.discriminator_adversarial("wgan-gp", real_out, fake_out)
        penalty = self._gradient_penalty("discriminator", healthy, fake, moment)
        self._descend(adversarial + self.config.gradient_penalty * penalty, "discriminator")
        return {"d_gap": -adversarial.detach(), "d_gradient_penalty": penalty.detach()}

    def _translator_step(
        self, healthy: Tensor, twins_a: Tensor, twins_b: Tensor
    ) -> dict[str, Tensor]:
        """G makes A look healthy and keeps B."""
        critic = self.wrapped["discriminator"]
        with frozen(critic):
            adversarial = losses.translator_adversarial("wgan-gp", critic(twins_a))
            identity = losses.identity(twins_b, healthy)
            self._descend(adversarial + self.config.identity * identity, "translator")
        return {"g_adversarial": adversarial.detach(), "g_identity": identity.detach()}

    def _find(self, x: Tensor, version: str) -> Finding:
        twin = self.networks["translator"](x).healthy
        return Finding(difference_map(x, twin), twin)
