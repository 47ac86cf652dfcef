"""StarGAN: one generator that translates to the domain it is asked for.

Y. Choi, M. Choi, M. Kim, J.-W. Ha, S. Kim, J. Choo, "StarGAN: Unified Generative Adversarial
Networks for Multi-Domain Image-to-Image Translation", CVPR 2018. The paper's and its released
code's: both networks, WGAN-GP, domain classification, cycle consistency and their weights, targets
drawn by shuffling the batch's own domains, five steps of D for one of G, Adam, rates that fall to
zero over the second half.

What differs:

- The two domains are the sets: A is 0 and B is 1, with nothing known of single images. The paper
  has a label for each image and attribute; in a mixed A that is wrong for what is healthy there.
- A step sees as many images of A as of B, where the code draws from both as they come; the batch
  is divided between them.
- G's step uses the translations that D has just learned from; the code makes the same ones again.
- Depth and second head of D follow the image size below 64 pixels a side.

Preset `stargan` is narrower, upsamples bilinearly, augments more, has higher rates and two steps of
D for one of G.
"""

from typing import ClassVar, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.discriminator import Discriminator, discriminator_depth
from a2bgan.models.translator import Intermediate, Translator, Upsampling
from a2bgan.training import losses
from a2bgan.training.methods.method import (
    Facts,
    Finding,
    Moment,
    StepMethod,
    detached,
    frozen,
    linear_decay,
)
from a2bgan.training.methods.sections import MethodConfig, Section, TranslationConfig

LABELS = 1
"""Numbers that name a domain: 0 is A, 1 is B."""


class StarGANLossConfig(Section):
    """Section ``method.loss``: weights beside the adversarial loss."""

    gradient_penalty: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_gp")
    domain: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_cls")
    cycle: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_rec")


class StarGANConfig(TranslationConfig):
    """Section ``method`` for StarGAN."""

    name: Literal["stargan"]
    loss: StarGANLossConfig


class DomainTranslator(nn.Module):
    """A2B-GAN's translator without a mask, with labels of the wanted domain as more channels.

    The paper's G at ``width=64, blocks=6, upsampling="transposed"``; ``additive`` is Fixed-Point
    GAN's x' = tanh(x + .), for StarGAN's tanh(.).
    """

    def __init__(
        self,
        channels: int,
        labels: int,
        width: int,
        blocks: int,
        upsampling: Upsampling,
        intermediate: Intermediate,
    ) -> None:
        super().__init__()
        network = Translator(channels, width, blocks, upsampling, intermediate, "none")
        _, *others = network.body
        stem = nn.Conv2d(channels + labels, width, 7, 1, 3, bias=False)
        self.body = nn.Sequential(stem, *others)
        self.head = network.head
        self.additive = intermediate == "additive"

    def forward(self, x: Tensor, domain: Tensor) -> Tensor:
        """Images (N, C, H, W) in [-1, 1] in the domains (N, labels); H and W multiples of 4."""
        labels = domain[:, :, None, None].expand(-1, -1, *x.shape[2:])
        change: Tensor = self.head(self.body(torch.cat([x, labels.to(x)], dim=1)))
        return torch.tanh(x + change if self.additive else change)


class DomainOutputs(NamedTuple):
    """Outputs of the discriminator for a batch.

    real: (N, 1, h, w), high where a patch looks real. domain: (N, labels), logits.
    """

    real: Tensor
    domain: Tensor


class DomainDiscriminator(nn.Module):
    """A2B-GAN's discriminator, with a second head, as large as what is left of the image, that
    tells the domain. The paper's D at ``width=64, depth=6``."""

    def __init__(self, channels: int, labels: int, width: int, depth: int, size: int) -> None:
        super().__init__()
        network = Discriminator(channels, width, depth)
        self.body, self.head = network.body, network.head
        left = max(1, size // 2**depth)
        self.domain = nn.Conv2d(width * 2 ** (depth - 1), labels, left, bias=False)

    def forward(self, x: Tensor) -> DomainOutputs:
        """Images (N, C, size, size) in [-1, 1]."""
        features = self.body(x)
        return DomainOutputs(self.head(features), self.domain(features).flatten(1))


def domain_loss(logits: Tensor, domain: Tensor) -> Tensor:
    """Binary cross-entropy of the labels (N, L), summed over them and averaged over images."""
    return F.binary_cross_entropy_with_logits(logits, domain, reduction="sum") / len(logits)


class StarGAN(StepMethod):
    """Translator G and discriminator D, which also tells the domains."""

    Config: ClassVar[type[MethodConfig]] = StarGANConfig
    finders = ("translator",)
    intermediate: ClassVar[Intermediate] = "tanh"
    facts = Facts("StarGAN", "Choi et al., CVPR 2018", uses_mixed=True, tasks=("translation",))

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        g, d = self.config.translator, self.config.discriminator
        depth = discriminator_depth(size, d.depth)
        return {
            "translator": DomainTranslator(
                channels, LABELS, g.width, g.blocks, g.upsampling, self.intermediate
            ),
            "discriminator": DomainDiscriminator(channels, LABELS, d.width, depth, size),
        }

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step."""
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))
        x = torch.cat([mixed, healthy])
        own = torch.cat([mixed.new_zeros(len(mixed), LABELS), healthy.new_ones(len(healthy), 1)])
        order = torch.randperm(len(x), generator=moment.generator, device=x.device)
        wanted = own[order]
        translating = (moment.step + 1) % self.config.discriminator.steps == 0
        with torch.set_grad_enabled(translating):
            fake = self.wrapped["translator"](x, wanted)
        report = self._discriminator_step(x, own, fake.detach(), moment)
        if not translating:
            return report
        with frozen(self.wrapped["discriminator"]):
            terms, total = self._objective(x, own, wanted, fake)
            self._descend(total, "translator")
        return report | detached(terms, "g_")

    def _discriminator_step(
        self, x: Tensor, own: Tensor, fake: Tensor, moment: Moment
    ) -> dict[str, Tensor]:
        """D learns images as real, translations as fake, and which domain images are of."""
        w = self.config.loss
        outputs: DomainOutputs = self.wrapped["discriminator"](torch.cat([x, fake]))
        real_out, fake_out = outputs.real[: len(x)], outputs.real[len(x) :]
        adversarial = losses.discriminator_adversarial("wgan-gp", real_out, fake_out)
        domain = domain_loss(outputs.domain[: len(x)], own)
        penalty = self._gradient_penalty("discriminator", x, fake, moment, lambda out: out.real)
        total = adversarial + w.domain * domain + w.gradient_penalty * penalty
        self._descend(total, "discriminator")
        terms = {"gap": -adversarial, "domain": domain, "gradient_penalty": penalty}
        return detached(terms, "d_")

    def _objective(
        self, x: Tensor, own: Tensor, wanted: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """G's terms, and the weighted sum that it minimises."""
        terms = self._terms(x, own, wanted, fake)
        return terms, self._weighted(terms)

    def _terms(self, x: Tensor, own: Tensor, wanted: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Translations to the domains ``wanted`` look real, are of them, and can be undone."""
        outputs: DomainOutputs = self.wrapped["discriminator"](fake)
        return {
            "adversarial": losses.translator_adversarial("wgan-gp", outputs.real),
            "domain": domain_loss(outputs.domain, wanted),
            "cycle": (x - self.wrapped["translator"](fake, own)).abs().mean(),
        }

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        w: StarGANLossConfig = self.config.loss
        return terms["adversarial"] + w.domain * terms["domain"] + w.cycle * terms["cycle"]

    def _find(self, x: Tensor, version: str) -> Finding:
        twin = self.networks["translator"](x, x.new_ones(len(x), LABELS))
        return Finding(difference_map(x, twin), twin)
