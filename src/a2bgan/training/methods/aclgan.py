"""ACL-GAN: what is translated there and back need not be the image again, only like it.

Y. Zhao, R. Wu, H. Dong, "Unpaired Image-to-Image Translation using Adversarial Consistency Loss",
ECCV 2020. The paper's and its released code's: two translators with styles and a focus mask, a
discriminator for each domain, one for pairs, least squares, the adversarial-consistency loss,
identity by an image's own style, the bounded focus loss, one step of the translators for two of
the discriminators, Adam with weight decay, rates that halve.

What differs:

- A step of the translators uses the noise and the translations that the discriminators have just
  learned from; the code draws and translates anew.
- The focus loss bounds each image's mask, as the paper writes it; the code, the sum over a batch.
- Layer norms divide by the root of the variance, with PyTorch's epsilon in it.
- The discriminators have fewer layers where their smallest scale would be less than a pixel.
- Flips, and the project's augmentation, in place of random crops. Halvings are shares of training.
- Looking for anomalies uses one draw of style for all images.

There are three discriminators: A2B-GAN's table counts the two of the domains. Bounds of the mask
are those of the released configuration (male to female). Preset `aclgan` is narrower and bounds
the mask lower.
"""

from typing import Any, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.style_translator import MultiScaleDiscriminator, StyleTranslator
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


class ACLGANLossConfig(Section):
    """Section ``method.loss``: the objective's weights, and the bounds of the masks."""

    adversarial: float = Field(ge=0, le=bounds.WEIGHT)
    consistency: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_acl")
    identity: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_idt")
    focus: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_mask")
    focus_bounds: float = Field(
        ge=0, le=bounds.WEIGHT, description="delta, of masks outside the bounds"
    )
    focus_lower: float = Field(ge=0, le=1, description="least share of an image in its mask")
    focus_upper: float = Field(ge=0, le=1, description="largest share")

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.focus_lower > self.focus_upper:
            raise ValueError(
                f"focus_lower ({self.focus_lower:g}) must not be above focus_upper "
                f"({self.focus_upper:g})"
            )
        return self


class ACLGANConfig(StyledConfig):
    """Section ``method`` for ACL-GAN."""

    name: Literal["aclgan"]
    discriminator_steps: int = Field(ge=1, le=bounds.STEPS, description="steps of D for each of G")
    loss: ACLGANLossConfig


class ACLGAN(StepMethod):
    """Translators to B and to A, discriminators of B, of A and of pairs."""

    Config = ACLGANConfig
    finders = ("translator_b",)
    facts = Facts("ACL-GAN", "Zhao et al., ECCV 2020", uses_mixed=True, tasks=("translation",))

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        g, d = self.config.translator, self.config.discriminator
        depth = d.depth_for(size)
        networks: dict[str, nn.Module] = {
            f"translator_{to}": StyleTranslator(
                channels, g.width, g.blocks, g.style, g.hidden, "acl", "reflect"
            )
            for to in "ba"
        }
        for name, seen in (("b", channels), ("a", channels), ("pair", 2 * channels)):
            networks[f"discriminator_{name}"] = MultiScaleDiscriminator(
                seen, d.width, depth, d.scales, "reflect"
            )
        return networks

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """A step of the discriminators and, every ``discriminator_steps``-th time, of both
        translators."""
        c, x = self.config, mixed
        self._scale_rates(halvings(moment.fraction, c.halve_every))
        noise = moment.normal(x, 3, len(x), c.translator.style)
        translating = (moment.step + 1) % c.discriminator_steps == 0
        to_b, to_a = self.wrapped["translator_b"], self.wrapped["translator_a"]
        with torch.set_grad_enabled(translating):
            (there,) = to_b(x, [noise[0]])
            # The image's own style only where it is needed.
            first, *kept_a = to_a(x, [noise[1], None] if translating else [noise[1]])
            (back,) = to_a(there.healthy, [noise[2]])
        report = self._discriminator_step(
            healthy, x, there.healthy.detach(), first.healthy.detach(), back.healthy.detach()
        )
        if not translating:
            return report

        w = c.loss
        d_b, d_a, d_pair = self._discriminators()
        with frozen(d_b, d_a, d_pair):
            (kept_b,) = to_b(healthy, [None])
            terms = {
                "adversarial": losses.least_squares(d_b(there.healthy), 1)
                + losses.least_squares(d_a(first.healthy), 1) / 2
                + losses.least_squares(d_a(back.healthy), 1) / 2,
                "consistency": losses.least_squares(d_pair(_pair(x, first.healthy)), 1)
                + losses.least_squares(d_pair(_pair(x, back.healthy)), 0),
                "identity": losses.identity(kept_a[0].intermediate, x)
                + losses.identity(kept_b.intermediate, healthy),
            }
            masks = [translation.masks for translation in (there, first, back)]
            bounds = w.focus_lower, w.focus_upper
            sizes = [losses.mask_outside(mask, *bounds) * mask[0].numel() for mask in masks]
            undecided = [losses.focus_indecision(mask) for mask in masks]
            terms["focus"] = (w.focus_bounds * sum(sizes) + sum(undecided)) / 3
            total = (
                w.adversarial * terms["adversarial"]
                + w.consistency * terms["consistency"]
                + w.identity * terms["identity"]
                + w.focus * terms["focus"]
            )
            self._descend(total, "translator_b", "translator_a")
        return report | detached(terms, "g_") | {"mask_mean": there.masks.detach().mean()}

    def _discriminator_step(
        self, healthy: Tensor, x: Tensor, there: Tensor, first: Tensor, back: Tensor
    ) -> dict[str, Tensor]:
        """Learn B against A translated, A against A translated to A (at once and by way of B), and
        one of those two against the other, each beside the image it is of."""
        w = self.config.loss
        d_b, d_a, d_pair = self._discriminators()
        adversarial = (
            losses.least_squares(d_b(healthy), 1)
            + losses.least_squares(d_b(there), 0)
            + losses.least_squares(d_a(x), 1)
            + losses.least_squares(d_a(torch.cat([first, back])), 0)
        )
        consistency = losses.least_squares(d_pair(_pair(x, first)), 0) + losses.least_squares(
            d_pair(_pair(x, back)), 1
        )
        self._descend(
            w.adversarial * adversarial + w.consistency * consistency,
            "discriminator_b",
            "discriminator_a",
            "discriminator_pair",
        )
        return detached({"adversarial": adversarial, "consistency": consistency}, "d_")

    def _discriminators(self) -> list[Any]:
        """The discriminators of B, of A and of pairs."""
        return [self.wrapped[f"discriminator_{name}"] for name in ("b", "a", "pair")]

    def _find(self, x: Tensor, version: str) -> Finding:
        translator: Any = self.networks["translator_b"]
        found = translator.in_fixed_style(x)
        twin = found.healthy.clamp(-1, 1)
        return Finding(difference_map(x, twin), twin, found.masks[:, 0])


def _pair(x: Tensor, translated: Tensor) -> Tensor:
    return torch.cat([x, translated], dim=1)
