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

from typing import Any, ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.models.blend import difference_map
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.models.style_translator import (
    MultiScaleDiscriminator,
    StyledTranslation,
    StyleTranslator,
    scale_depth,
)
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    AdamBetas,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    Section,
    StepMethod,
    halvings,
)

REMEMBERED = 100
"""Steps whose losses say how much the council's weighs beside the adversarial one."""


class StyleTranslatorConfig(Section):
    """Section ``method.translator``: each translator."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    blocks: int = Field(
        ge=1, le=bounds.LAYERS, description="residual blocks of encoder and decoder, each"
    )
    style: int = Field(ge=1, le=bounds.UNITS, description="numbers in a style")
    hidden: int = Field(ge=1, le=bounds.UNITS, description="width of the perceptron behind a style")


class MultiScaleDiscriminatorConfig(Section):
    """Section ``method.discriminator``: each discriminator."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    depth: int = Field(
        ge=1, le=bounds.LAYERS, description="strided convolutions; fewer for small images"
    )
    scales: int = Field(ge=1, le=8, description="sizes that an image is looked at in")

    def depth_for(self, size: int) -> int:
        """``depth``, or as many as fit into the smallest scale of ``size`` pixels a side.

        Raises InputError where that scale is a single pixel, into which none fits.
        """
        most = (size - 1).bit_length()
        if self.scales > most:
            raise InputError(
                f"method.discriminator.scales={self.scales}: images of {size} x {size} pixels can "
                f"be halved for {most} at most; set as many or fewer"
            )
        return scale_depth(size, self.depth, self.scales)


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


class CouncilGANConfig(MethodConfig):
    """Section ``method`` for Council GAN."""

    name: Literal["councilgan"]
    members: int = Field(ge=2, le=bounds.NETWORKS)
    less_style: float = Field(ge=0, le=1, description="length of styles that are taken as real")
    translator: StyleTranslatorConfig
    discriminator: MultiScaleDiscriminatorConfig
    loss: CouncilGANLossConfig
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    adam_betas: AdamBetas
    weight_decay: float = Field(ge=0, le=bounds.RATE)
    halve_every: float = Field(
        ge=1e-6, le=100, description="share of training after which rates halve"
    )


class LossHistory(nn.Module):
    """The last adversarial and council losses of each member, which checkpoints keep."""

    adversarial: Tensor
    council: Tensor

    def __init__(self, members: int) -> None:
        super().__init__()
        for name in ("adversarial", "council"):
            self.register_buffer(name, torch.ones(members, REMEMBERED))


class CouncilGAN(StepMethod):
    """Members, each a translator with a discriminator and a council discriminator.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.

    Raises InputError if the discriminators have more scales than that size.
    """

    Config: ClassVar[type[MethodConfig]] = CouncilGANConfig
    facts: ClassVar[Facts] = Facts(
        title="Council GAN",
        paper="Nizan and Tal, CVPR 2020",
        score="mean",
        uses_mixed=True,
        tasks=("translation",),
    )

    def __init__(self, config: CouncilGANConfig, channels: int, size: int) -> None:
        g, d = config.translator, config.discriminator
        self.config = config
        self.members = range(config.members)
        depth = d.depth_for(size)
        self.networks: dict[str, nn.Module] = {}
        for i in self.members:
            translator = StyleTranslator(
                channels, g.width, g.blocks, g.style, g.hidden, "council", "zeros"
            )
            translator.own_style.requires_grad_(False)  # styles are always given
            self.networks[f"translator_{i}"] = translator
            self.networks[f"discriminator_{i}"] = MultiScaleDiscriminator(
                channels, d.width, depth, d.scales, "zeros"
            )
            self.networks[f"discriminator_council_{i}"] = MultiScaleDiscriminator(
                2 * channels, d.width, depth, d.scales, "zeros", council=True
            )
        self.history = LossHistory(config.members)
        self.networks["history"] = self.history
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        c = self.config
        names = [name for name in self.networks if name != "history"]
        rates = dict.fromkeys(names, c.learning_rate)
        self.wrapped = self._set_up(fabric, rates, c.adam_betas, c.weight_decay)

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
        shown = [translations[0].healthy for translations in found]
        reports = []
        for i in self.members:
            report = self._discriminator_step(i, healthy, shown[i].detach())
            if in_council:
                others = [found[j][1].healthy.detach() for j in self.members if j != i]
                report |= self._council_step(i, mixed, shown[i].detach(), others)
            reports.append(report)
        for i in self.members:
            reports[i] |= self._translator_step(
                i, mixed, found[i][0], in_council, in_focus, moment.step
            )
        names = reports[0]
        return {name: torch.stack([r[name] for r in reports]).mean() for name in names}

    def _discriminator_step(self, i: int, healthy: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """A member's discriminator learns B as real and the member's translations as fake."""
        name = f"discriminator_{i}"
        loss = losses.least_squares(self.wrapped[name](healthy), 1) + losses.least_squares(
            self.wrapped[name](fake), 0
        )
        self._descend(name, self.config.loss.adversarial * loss)
        return {"d_adversarial": loss.detach()}

    def _council_step(
        self, i: int, mixed: Tensor, own: Tensor, others: list[Tensor]
    ) -> dict[str, Tensor]:
        """A member's council discriminator learns to tell it from the others, beside the input."""
        name = f"discriminator_council_{i}"
        judged = self.wrapped[name](_beside(torch.cat([own, *others]), mixed))
        fake = [scale[: len(own)] for scale in judged]
        real = [scale[len(own) :] for scale in judged]
        loss = losses.least_squares(real, 1) + losses.least_squares(fake, 0)
        self._descend(name, self.config.loss.council * loss)
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
            self.history.adversarial[i, place] = self._everywhere(terms["adversarial"])
            if in_council:
                pair = _beside(found.healthy, mixed)
                terms["council"] = losses.least_squares(council(pair), 1)
                self.history.council[i, place] = self._everywhere(terms["council"])
                match = self.history.adversarial[i].mean() / self.history.council[i].mean()
                total = total + w.council * match * terms["council"]
            if in_focus:
                terms["focus_size"] = found.masks.mean().square()
                terms["focus_indecision"] = losses.mask_indecision(found.masks)
                terms["focus_variation"] = losses.total_variation(found.masks)
                total = (
                    total
                    + w.focus_size * terms["focus_size"]
                    + w.focus_indecision * terms["focus_indecision"]
                    + w.focus_variation * terms["focus_variation"]
                )
            self._descend(f"translator_{i}", total)
        report = {f"g_{name}": term.detach() for name, term in terms.items()}
        return report | {"mask_mean": found.masks.detach().mean()}

    def _everywhere(self, loss: Tensor) -> Tensor:
        """A loss (), detached, averaged over all processes: they must weigh the council alike."""
        averaged: Any = self.fabric.all_reduce(loss.detach())
        return averaged  # type: ignore[no-any-return]

    @property
    def versions(self) -> tuple[str, ...]:
        return tuple(f"member-{i}" for i in self.members)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        number = (version or self.versions[0]).removeprefix("member-")
        translator: Any = self.networks[f"translator_{number}"]
        with inference(translator):
            x = x.contiguous(memory_format=torch.channels_last)
            (found,) = translator(x, [translator.fixed.expand(len(x), -1)])
        twin = found.healthy.clamp(-1, 1)
        return Finding(difference_map(x, twin), twin, 1 - (1 - found.masks).prod(dim=1))


def _beside(images: Tensor, inputs: Tensor) -> Tensor:
    """Each of k N translations beside the input (N, C, H, W) it is of: (k N, 2 C, H, W)."""
    return torch.cat([images, inputs.repeat(len(images) // len(inputs), 1, 1, 1)], dim=1)
