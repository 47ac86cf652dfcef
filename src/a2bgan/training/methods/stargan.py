"""StarGAN: one generator that is told the domain it shall translate to.

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

from typing import Any, ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.data import bounds
from a2bgan.models.blend import difference_map
from a2bgan.models.discriminator import discriminator_depth
from a2bgan.models.domain_gan import DomainDiscriminator, DomainTranslator, Judgement
from a2bgan.models.frozen import frozen
from a2bgan.models.inference import inference
from a2bgan.models.translator import Intermediate
from a2bgan.training import losses
from a2bgan.training.methods.brainomaly import DiscriminatorConfig, TranslatorConfig
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

LABELS = 1
"""Numbers that say which domain is meant: 0 is A, 1 is B."""


class StarGANLossConfig(Section):
    """Section ``method.loss``: weights beside the adversarial loss."""

    gradient_penalty: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_gp")
    domain: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_cls")
    cycle: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_rec")


class StarGANConfig(MethodConfig):
    """Section ``method`` for StarGAN."""

    name: Literal["stargan"]
    translator: TranslatorConfig
    discriminator: DiscriminatorConfig
    loss: StarGANLossConfig
    adam_betas: AdamBetas
    decay_from: DecayFrom


class StarGAN(StepMethod):
    """Translator G and discriminator D, which also tells the domains.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.
    """

    Config: ClassVar[type[MethodConfig]] = StarGANConfig
    intermediate: ClassVar[Intermediate] = "tanh"
    facts: ClassVar[Facts] = Facts(
        title="StarGAN",
        paper="Choi et al., CVPR 2018",
        score="mean",
        uses_mixed=True,
        tasks=("translation",),
    )

    def __init__(self, config: Any, channels: int, size: int) -> None:
        g, d = config.translator, config.discriminator
        self.config = config
        depth = discriminator_depth(size, d.depth)
        self.networks: dict[str, nn.Module] = {
            "translator": DomainTranslator(
                channels, LABELS, g.width, g.blocks, g.upsampling, self.intermediate
            ),
            "discriminator": DomainDiscriminator(channels, LABELS, d.width, depth, size),
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
        """One D step and, every ``discriminator.steps``-th time, one G step."""
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))
        x = torch.cat([mixed, healthy])
        own = torch.cat([mixed.new_zeros(len(mixed), LABELS), healthy.new_ones(len(healthy), 1)])
        order = torch.randperm(len(x), generator=moment.generator, device=x.device)
        wanted = own[order]
        translating = (moment.step + 1) % self.config.discriminator.steps == 0
        with torch.set_grad_enabled(translating):
            fake = self.translator(x, wanted)
        report = self._discriminator_step(x, own, fake.detach(), moment)
        if not translating:
            return report
        with frozen(self.discriminator):
            terms, total = self._objective(x, own, wanted, fake)
            self._descend("translator", total)
        return report | {f"g_{name}": term.detach() for name, term in terms.items()}

    def _discriminator_step(
        self, x: Tensor, own: Tensor, fake: Tensor, moment: Moment
    ) -> dict[str, Tensor]:
        """D learns images as real, translations as fake, and which domain images are of."""
        w = self.config.loss
        found: Judgement = self.discriminator(torch.cat([x, fake]))
        real_out, fake_out = found.real[: len(x)], found.real[len(x) :]
        adversarial = losses.discriminator_adversarial("wgan-gp", real_out, fake_out)
        domain = _domain_loss(found.domain[: len(x)], own)
        penalty = self._gradient_penalty("discriminator", x, fake, moment, lambda out: out.real)
        total = adversarial + w.domain * domain + w.gradient_penalty * penalty
        self._descend("discriminator", total)
        return {
            "d_gap": -adversarial.detach(),
            "d_domain": domain.detach(),
            "d_gradient_penalty": penalty.detach(),
        }

    def _objective(
        self, x: Tensor, own: Tensor, wanted: Tensor, fake: Tensor
    ) -> tuple[dict[str, Tensor], Tensor]:
        """G's terms, and the weighted sum that it minimises."""
        terms = self._terms(x, own, wanted, fake)
        return terms, self._weighted(terms)

    def _terms(self, x: Tensor, own: Tensor, wanted: Tensor, fake: Tensor) -> dict[str, Tensor]:
        """Translations to the domains ``wanted`` look real, are of them, and can be undone."""
        found: Judgement = self.discriminator(fake)
        return {
            "adversarial": losses.translator_adversarial("wgan-gp", found.real),
            "domain": _domain_loss(found.domain, wanted),
            "cycle": (x - self.translator(fake, own)).abs().mean(),
        }

    def _weighted(self, terms: dict[str, Tensor]) -> Tensor:
        w: StarGANLossConfig = self.config.loss
        return terms["adversarial"] + w.domain * terms["domain"] + w.cycle * terms["cycle"]

    @property
    def ready(self) -> bool:
        return bool(self.optimizers["translator"].state)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        translator = self.networks["translator"]
        with inference(translator):
            x = x.contiguous(memory_format=torch.channels_last)
            twin = translator(x, x.new_ones(len(x), LABELS))
        return Finding(difference_map(x, twin), twin)


def _domain_loss(logits: Tensor, domain: Tensor) -> Tensor:
    """Binary cross-entropy of the labels (N, L), summed over them and averaged over images."""
    return F.binary_cross_entropy_with_logits(logits, domain, reduction="sum") / len(logits)
