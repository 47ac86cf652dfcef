"""Council GAN: several translators that have to agree, so that what they keep is the image.

O. Nizan, A. Tal, "Breaking the Cycle: Colleagues Are All You Need", CVPR 2020. The paper's and its
released code's (its configuration for glasses): translators with styles and three blended images,
two discriminators for each member, least squares, the council loss, brought to the size of the
adversarial one by the means of their last 100 values, styles shortened for what the council's
discriminators take as real, the focus loss on the masks (size squared, decided, smooth), from
when on each counts, Adam with weight decay, rates that halve.

What differs:

- Only A is translated, to B, as in the code's configuration.
- One translation of A, with one draw of noise, serves the three steps of a batch; the code
  draws and translates anew for each.
- A member's council discriminator compares it with each of the others once; the code, with one of
  them a second time.
- Flips, and the project's augmentation, in place of random crops and greying.
- Starts and halvings are shares of training.
- Looking for anomalies uses one draw of style for all images, and one member: `versions` has
  them all, and selection may choose. The mask is where any of the three images was blended in.

Preset `councilgan` is narrower and starts the focus loss later, in proportion, for minutes.
"""

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.style_translator import (
    MultiScaleDiscriminator,
    StyledTranslation,
    StyleTranslator,
)
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    Facts,
    Finding,
    Moment,
    StepMethod,
    detached,
    frozen,
    halvings,
)
from a2bgan.training.methods.sections import Section, StyledConfig

REMEMBERED = 100
"""Steps whose losses balance the council's against the adversarial one."""


class CouncilGANLossConfig(Section):
    """Section ``method.loss``: the objective's weights."""

    adversarial: float = Field(ge=0, le=bounds.WEIGHT)
    council: float = Field(ge=0, le=bounds.WEIGHT)
    council_from: float = Field(ge=0, le=1, description="share of training after which it counts")
    focus_size: float = Field(ge=0, le=bounds.WEIGHT, description="of the masks' squared mean")
    focus_indecision: float = Field(ge=0, le=bounds.WEIGHT)
    focus_variation: float = Field(
        ge=0, le=bounds.WEIGHT, description="of the masks' total variation"
    )
    focus_from: float = Field(ge=0, le=1, description="share of training after which it counts")


class CouncilGANConfig(StyledConfig):
    """Section ``method`` for Council GAN."""

    name: Literal["councilgan"]
    members: int = Field(ge=2, le=bounds.NETWORKS)
    less_style: float = Field(ge=0, le=1, description="length of styles that are taken as real")
    loss: CouncilGANLossConfig


class LossHistory(nn.Module):
    """The last adversarial and council losses of each member, which checkpoints keep."""

    adversarial: Tensor
    council: Tensor

    def __init__(self, members: int) -> None:
        super().__init__()
        for name in ("adversarial", "council"):
            self.register_buffer(name, torch.ones(members, REMEMBERED))


class CouncilGAN(StepMethod):
    """Members, each a translator with a discriminator and a council discriminator."""

    Config = CouncilGANConfig
    facts = Facts(
        "Council GAN", "Nizan and Tal, CVPR 2020", uses_mixed=True, tasks=("translation",)
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        g, d = self.config.translator, self.config.discriminator
        self.members = range(self.config.members)
        depth = d.depth_for(size)
        networks: dict[str, nn.Module] = {}
        for i in self.members:
            translator = StyleTranslator(
                channels, g.width, g.blocks, g.style, g.hidden, "council", "zeros"
            )
            translator.own_style.requires_grad_(False)  # styles are always given
            networks[f"translator_{i}"] = translator
            networks[f"discriminator_{i}"] = MultiScaleDiscriminator(
                channels, d.width, depth, d.scales, "zeros"
            )
            networks[f"discriminator_council_{i}"] = MultiScaleDiscriminator(
                2 * channels, d.width, depth, d.scales, "zeros", council=True
            )
        self.history = LossHistory(self.config.members)
        return networks | {"history": self.history}

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """A step of every discriminator, then one of every translator."""
        c, w = self.config, self.config.loss
        self._scale_rates(halvings(moment.fraction, c.halve_every))
        in_council, in_focus = (
            moment.fraction >= start for start in (w.council_from, w.focus_from)
        )
        style = moment.normal(mixed, len(mixed), c.translator.style)
        styles = [style, c.less_style * style] if in_council else [style]
        found: list[list[StyledTranslation]] = [
            self.wrapped[f"translator_{i}"](mixed, styles) for i in self.members
        ]
        fakes = [translations[0].healthy.detach() for translations in found]
        reports = []
        for i in self.members:
            report = self._discriminator_step(i, healthy, fakes[i])
            if in_council:
                others = [found[j][1].healthy.detach() for j in self.members if j != i]
                report |= self._council_step(i, mixed, fakes[i], others)
            reports.append(report)
        for i in self.members:
            reports[i] |= self._translator_step(
                i, mixed, found[i][0], in_council, in_focus, moment.step
            )
        return {name: torch.stack([r[name] for r in reports]).mean() for name in reports[0]}

    def _discriminator_step(self, i: int, healthy: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """A member's discriminator learns B as real and the member's translations as fake."""
        name = f"discriminator_{i}"
        discriminator = self.wrapped[name]
        real_loss = losses.least_squares(discriminator(healthy), 1)
        loss = real_loss + losses.least_squares(discriminator(fake), 0)
        self._descend(self.config.loss.adversarial * loss, name)
        return {"d_adversarial": loss.detach()}

    def _council_step(
        self, i: int, mixed: Tensor, own: Tensor, others: list[Tensor]
    ) -> dict[str, Tensor]:
        """A member's council discriminator learns to tell it from the others, beside the input."""
        name = f"discriminator_council_{i}"
        outputs = self.wrapped[name](_beside(torch.cat([own, *others]), mixed))
        fake = [scale[: len(own)] for scale in outputs]
        real = [scale[len(own) :] for scale in outputs]
        loss = losses.least_squares(real, 1) + losses.least_squares(fake, 0)
        self._descend(self.config.loss.council * loss, name)
        return {"d_council": loss.detach()}

    def _translator_step(
        self,
        i: int,
        mixed: Tensor,
        found: StyledTranslation,
        in_council: bool,
        in_focus: bool,
        step: int,
    ) -> dict[str, Tensor]:
        """A member looks healthy, agrees with the others and keeps its masks small and decided."""
        w = self.config.loss
        alone, council = (self.wrapped[f"discriminator{kind}_{i}"] for kind in ("", "_council"))
        with frozen(alone, council):
            terms = {"adversarial": losses.least_squares(alone(found.healthy), 1)}
            total = w.adversarial * terms["adversarial"]
            place = step % REMEMBERED
            self.history.adversarial[i, place] = self._over_processes(terms["adversarial"])
            if in_council:
                pair = _beside(found.healthy, mixed)
                terms["council"] = losses.least_squares(council(pair), 1)
                self.history.council[i, place] = self._over_processes(terms["council"])
                match = self.history.adversarial[i].mean() / self.history.council[i].mean()
                total = total + w.council * match * terms["council"]
            if in_focus:
                terms["focus_size"] = found.masks.mean().square()
                terms["focus_indecision"] = losses.focus_indecision(found.masks)
                terms["focus_variation"] = losses.total_variation(found.masks)
                total = (
                    total
                    + w.focus_size * terms["focus_size"]
                    + w.focus_indecision * terms["focus_indecision"]
                    + w.focus_variation * terms["focus_variation"]
                )
            self._descend(total, f"translator_{i}")
        return detached(terms, "g_") | {"mask_mean": found.masks.detach().mean()}

    def _over_processes(self, loss: Tensor) -> Tensor:
        """Mean of a loss () over all processes, detached: they must weigh the council alike."""
        averaged: Any = self.fabric.all_reduce(loss.detach())
        return averaged  # type: ignore[no-any-return]

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(f"member-{i}" for i in self.members)

    def _find(self, x: Tensor, version: str) -> Finding:
        translator: Any = self.networks[f"translator_{version.removeprefix('member-')}"]
        found = translator.in_fixed_style(x)
        twin = found.healthy.clamp(-1, 1)
        return Finding(difference_map(x, twin), twin, 1 - (1 - found.masks).prod(dim=1))


def _beside(images: Tensor, inputs: Tensor) -> Tensor:
    """Each of k N translations beside the input (N, C, H, W) it is of: (k N, 2 C, H, W)."""
    return torch.cat([images, inputs.repeat(len(images) // len(inputs), 1, 1, 1)], dim=1)
