"""A2B-GAN: translate any image to a healthy one; what had to change is the anomaly."""

import copy
import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn

from a2bgan.models.blend import difference_map, masked_reconstruction
from a2bgan.models.discriminator import Discriminator, Initialisation, discriminator_depth
from a2bgan.models.translator import Intermediate, Mask, Translation, Translator, Upsampling
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.methods.method import (
    AdamBetas,
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

    width: int = Field(ge=2)
    blocks: int = Field(ge=0)
    upsampling: Upsampling
    intermediate: Intermediate
    mask: Mask
    mask_start: float | None = Field(gt=0, lt=1)
    learning_rate: float = Field(gt=0)
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights; 0 keeps none")


class DiscriminatorConfig(Section):
    """Section ``method.discriminator``: the network D and how it learns."""

    width: int = Field(ge=2)
    depth: int | None = Field(ge=1, description="null follows the image size")
    initialisation: Initialisation
    learning_rate: float = Field(gt=0)
    steps: int = Field(ge=1, description="D steps for each G step")
    warmup_steps: int = Field(
        ge=0, description="first steps, at most, with D alone, on A against B"
    )
    warmup_gain: float | None = Field(
        gt=0, lt=1, description="share below chance of D's loss that ends the warm-up; null: none"
    )
    warmup_learning_rate: float = Field(gt=0)
    replay: bool = Field(description="D keeps seeing A itself beside translated A")


class LossConfig(Section):
    """Section ``method.loss``: the objective (eqs. 3-10); a weight of 0 leaves a term out."""

    adversarial: losses.Adversarial
    gradient_penalty: float = Field(ge=0, description="lambda_gp, eq. 4; for wgan-gp")
    real_gradient_penalty: float = Field(ge=0, description="R1 at healthy images; not the paper's")
    identity: float = Field(ge=0, description="lambda_id, eq. 6")
    reconstruction: float = Field(ge=0, description="lambda_rec, eq. 7")
    focus: float = Field(ge=0, description="lambda_f, eq. 10")
    focus_size: float = Field(ge=0, description="lambda_fs, eq. 8")
    focus_size_power: Literal[1, 2]
    focus_indecision: float = Field(ge=0, description="lambda_fz, eq. 8")
    change: float = Field(ge=0, description="price of |x' - x|; not the paper's")


class A2BGANConfig(MethodConfig):
    """Section ``method`` for A2B-GAN."""

    name: Literal["a2bgan"]
    translator: TranslatorConfig
    discriminator: DiscriminatorConfig
    loss: LossConfig
    adam_betas: AdamBetas
    decay_from: float = Field(
        ge=0, le=1, description="share of training after which rates fall linearly to zero"
    )

    @model_validator(mode="after")
    def _gains_against_chance(self) -> Self:
        if self.discriminator.warmup_gain is not None and self.loss.adversarial != "logistic":
            raise ValueError("discriminator.warmup_gain needs loss.adversarial=logistic")
        return self


WARMUP_SHARE = 1 / 3
"""A training gives at most this share of itself to the warm-up."""

WARMUP_MEMORY = 0.02
"""Weight of the newest step in the average of D's loss that ends a warm-up."""

WARMUP_LOOK = 50
"""Steps between looks at that average."""

CHANCE = 2 * math.log(2)
"""The logistic loss of a D that cannot tell A from B."""


class WarmUp(nn.Module):
    """How far the warm-up is. Buffers, so that checkpoints hold them."""

    loss: Tensor
    over: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("loss", torch.tensor(CHANCE))
        self.register_buffer("over", torch.tensor(False))


class A2BGAN(StepMethod):
    """Translator G and discriminator D, trained by equations 1 to 10.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.
    """

    Config: ClassVar[type[MethodConfig]] = A2BGANConfig
    facts: ClassVar[Facts] = Facts(
        title="A2B-GAN",
        paper="Siddiquee et al., SASHIMI 2022 (as HealthyGAN)",
        score="mean",
        uses_mixed=True,
    )

    def __init__(self, config: A2BGANConfig, channels: int, size: int) -> None:
        g, d = config.translator, config.discriminator
        self.config = config
        self.translator: nn.Module = Translator(
            channels, g.width, g.blocks, g.upsampling, g.intermediate, g.mask, g.mask_start
        )
        self.discriminator: nn.Module = Discriminator(
            channels, d.width, discriminator_depth(size, d.depth), d.initialisation
        )
        self.warmup = WarmUp()
        self._warmed_up: bool | None = None
        self.networks = {
            "translator": self.translator,
            "discriminator": self.discriminator,
            "warmup": self.warmup,
        }
        if g.ema > 0:
            self.networks["translator_ema"] = copy.deepcopy(self.translator)
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = {
            "translator": self.config.translator.learning_rate,
            "discriminator": self.config.discriminator.learning_rate,
        }
        wrapped = self._set_up(fabric, rates, self.config.adam_betas)
        self.translator, self.discriminator = wrapped["translator"], wrapped["discriminator"]

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of one forward pass serve both: G does not change in between.
        """
        d = self.config.discriminator
        warming = self._warming(moment)
        translating = not warming and (moment.step + 1) % d.steps == 0
        self._set_learning_rates(warming, moment.fraction)

        if warming:
            report = self._discriminator_step(healthy, [mixed], moment)
            self.warmup.loss.lerp_(report["d_adversarial"], WARMUP_MEMORY)
            return report
        with torch.set_grad_enabled(translating):
            both = torch.cat([mixed, healthy])
            translation: Translation = self.translator(both)
        fake = translation.healthy[: len(mixed)].detach()
        report = self._discriminator_step(healthy, [mixed, fake] if d.replay else [fake], moment)
        if translating:
            report |= self._translator_step(both, len(mixed), translation, moment.step)
        return report

    def _warming(self, moment: Moment) -> bool:
        """Whether D learns alone: for its steps, or until it tells A from B."""
        if self._warmed_up is None:
            self._warmed_up = bool(self.warmup.over)  # of a checkpoint, when resumed
        if not self._warmed_up and (
            moment.step >= self.config.discriminator.warmup_steps
            or moment.fraction >= WARMUP_SHARE
            or self._separates(moment.step)
        ):
            self._warmed_up = True
            self.warmup.over.fill_(True)
        return not self._warmed_up

    def _separates(self, step: int) -> bool:
        """Whether D's loss has fallen as far below chance as the warm-up is to bring it."""
        gain = self.config.discriminator.warmup_gain
        if gain is None or step % WARMUP_LOOK:  # a look makes a GPU wait, so not at every step
            return False
        return float(self.warmup.loss) <= (1 - gain) * CHANCE

    def _discriminator_step(
        self, healthy: Tensor, others: list[Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """Equation 9: D learns healthy images as real, all others as fake."""
        loss = self.config.loss
        fake = torch.cat(others)
        out = self.discriminator(torch.cat([healthy, fake]))
        real_out, fake_out = out[: len(healthy)], out[len(healthy) :]
        adversarial = losses.discriminator_adversarial(loss.adversarial, real_out, fake_out)
        total = adversarial
        report = {
            "d_adversarial": adversarial.detach(),
            "d_gap": (real_out.mean() - fake_out.mean()).detach(),
        }
        # Not as Fabric wraps it: in mixed precision that lets no gradient out of a step.
        bare = self.networks["discriminator"]
        if loss.gradient_penalty > 0:
            mix = torch.rand(
                len(healthy), 1, 1, 1, generator=moment.generator, device=healthy.device
            )
            penalty = losses.gradient_penalty(bare, healthy, fake[-len(healthy) :], mix)
            total = total + loss.gradient_penalty * penalty
            report["d_gradient_penalty"] = penalty.detach()
        if loss.real_gradient_penalty > 0:
            penalty = losses.real_gradient_penalty(bare, healthy)
            total = total + loss.real_gradient_penalty / 2 * penalty
            report["d_real_gradient_penalty"] = penalty.detach()
        self._descend("discriminator", total)
        return report

    def _translator_step(
        self, both: Tensor, n_mixed: int, translation: Translation, step: int
    ) -> dict[str, Tensor]:
        """Equation 10: G makes A and B look healthy, keeps B and rebuilds A."""
        w = self.config.loss
        twin, b, m = translation
        mixed, healthy = both[:n_mixed], both[n_mixed:]
        self.discriminator.requires_grad_(False)
        out = self.discriminator(twin)
        terms = {
            "adversarial": losses.translator_adversarial(w.adversarial, out[:n_mixed])
            + losses.translator_adversarial(w.adversarial, out[n_mixed:]),
            "identity": losses.identity(b[n_mixed:], healthy),
            "reconstruction": losses.reconstruction(
                mixed, masked_reconstruction(mixed, b[:n_mixed], m[:n_mixed])
            ),
            "focus_size": (
                losses.mask_size(m[:n_mixed], w.focus_size_power)
                + losses.mask_size(m[n_mixed:], w.focus_size_power)
            )
            / 2,
            "focus_indecision": (
                losses.mask_indecision(m[:n_mixed]) + losses.mask_indecision(m[n_mixed:])
            )
            / 2,
            "change": losses.change(both, twin),
        }
        focus = w.focus_size * terms["focus_size"] + w.focus_indecision * terms["focus_indecision"]
        total = (
            terms["adversarial"]
            + w.identity * terms["identity"]
            + w.reconstruction * terms["reconstruction"]
            + w.focus * focus
            + w.change * terms["change"]
        )
        self._descend("translator", total)
        self.discriminator.requires_grad_(True)
        if "translator_ema" in self.networks:
            ema, raw = self.networks["translator_ema"], self.networks["translator"]
            average_weights(ema, raw, self.config.translator.ema, step)
        return {f"g_{name}": term.detach() for name, term in terms.items()} | {
            "mask_mean": m.detach().mean()
        }

    def _set_learning_rates(self, warming: bool, fraction: float) -> None:
        decay = linear_decay(fraction, self.config.decay_from)
        d = self.config.discriminator
        rate = d.warmup_learning_rate if warming else d.learning_rate * decay
        translator_rate = self.config.translator.learning_rate * decay
        self._set_rates({"translator": translator_rate, "discriminator": rate})

    @property
    def ready(self) -> bool:
        return bool(self.optimizers["translator"].state)

    @property
    def versions(self) -> tuple[str, ...]:
        return ("ema", "raw") if "translator_ema" in self.networks else ("raw",)

    @torch.no_grad()
    def translate(self, x: Tensor, version: str | None = None) -> Translation:
        """The healthy twins of images (N, C, H, W) in [-1, 1], without gradients."""
        averaged = (version or self.versions[0]) == "ema"
        network: Any = self.networks["translator_ema" if averaged else "translator"]
        twin, b, m = network(x.contiguous(memory_format=torch.channels_last))
        return Translation(twin.clamp(-1, 1), b, m)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        twin, _, mask = self.translate(x, version)
        return Finding(difference_map(x, twin), twin, mask[:, 0])

    def diagnose(self, averages: Mapping[str, float]) -> str | None:
        mask, gap = averages.get("mask_mean"), averages.get("d_gap", 0.0)
        if self.config.translator.mask == "learned" and mask is not None:
            if mask < 0.002:
                return (
                    f"the mask has closed (mean {mask:.4f}): nothing is translated any more; try a "
                    "smaller method.loss.focus_size or method.loss.focus"
                )
            if mask > 0.98:
                return (
                    f"the mask is open everywhere (mean {mask:.4f}) and points at nothing; try a "
                    "larger method.loss.focus_size"
                )
        logistic = self.config.loss.adversarial == "logistic"
        if mask is not None and abs(gap) < 1e-3:
            return (
                "the discriminator no longer tells healthy from translated images; try a larger "
                "method.discriminator.learning_rate or more warmup_steps"
            )
        if mask is not None and logistic and averages["d_adversarial"] < 1e-3:
            return (
                "the discriminator is always right and teaches the translator nothing; try a "
                "smaller method.discriminator.learning_rate or stronger train.augment"
            )
        return None
