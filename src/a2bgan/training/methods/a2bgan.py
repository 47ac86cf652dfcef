"""A2B-GAN: translate any image to a healthy one; what had to change is the anomaly."""

import copy
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Any, ClassVar, Literal, Self

import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn

from a2bgan.models.blend import difference_map, masked_reconstruction
from a2bgan.models.closing import close_gaps
from a2bgan.models.discriminator import Discriminator, Initialisation, discriminator_depth
from a2bgan.models.frozen import frozen
from a2bgan.models.smoothing import gaussian_smooth
from a2bgan.models.texture import TextureDiscriminator, over_pixels
from a2bgan.models.translator import Intermediate, Mask, Translation, Translator, Upsampling
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.methods.method import (
    AdamBetas,
    DecayFrom,
    Facts,
    Finding,
    MethodConfig,
    Moment,
    Section,
    StepMethod,
    WhenAsked,
    linear_decay,
)


class TranslatorConfig(Section):
    """Section ``method.translator``: the network G and how it learns."""

    width: int = Field(ge=2)
    blocks: int = Field(ge=0)
    upsampling: Upsampling
    intermediate: Intermediate
    mask: Mask = Field(
        description="none: x' = b; reconstruction, focus and mask_start then do nothing"
    )
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
    warmup_steps: int = Field(ge=0, description="first steps, with D alone, on A against B")
    warmup_learning_rate: float = Field(
        gt=0, description="of D in the warm-up, and of what reads texture throughout"
    )
    replay: bool = Field(description="D keeps seeing A itself beside translated A")
    texture_width: int = Field(
        0, ge=0, description="of two more D, which see texture; 0 for none; not the paper's"
    )
    reader_passes: float | None = Field(
        None, gt=0, description="through the smaller set, after which the reader learns no more"
    )


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
    candidates: int = Field(
        1, ge=1, description="G gets the most suspect of so many batches of A; not the paper's"
    )
    map_closing: float = Field(
        0, ge=0, le=0.1, description="gaps of the map up to twice this share of the side are filled"
    )
    map_smoothing: float = Field(
        0, ge=0, le=0.1, description="sigma, as a share of the side; 0 leaves the map as it is"
    )
    map_evidence: bool = Field(
        False, description="the map counts as far as texture speaks for A; not the paper's"
    )
    adam_betas: AdamBetas
    decay_from: DecayFrom

    @model_validator(mode="after")
    def _someone_reads_texture(self) -> Self:
        asked = self.candidates > 1 or self.map_evidence
        if asked and self.discriminator.texture_width == 0:
            raise ValueError(
                "candidates above 1 and map_evidence need discriminator.texture_width; "
                "without it set candidates=1 and map_evidence=false"
            )
        return self

    @model_validator(mode="after")
    def _every_critic_has_its_penalty(self) -> Self:
        if self.discriminator.texture_width > 0 and self.loss.adversarial == "wgan-gp":
            raise ValueError(
                "discriminator.texture_width needs loss.adversarial = 'logistic' or "
                "'hinge': the penalty of wgan-gp is for the other discriminator alone"
            )
        return self


TEXTURE, READER = "discriminator_texture", "discriminator_reader"
"""The discriminators that see texture."""

READER_LOSS: losses.Adversarial = "logistic"
"""The second's, whatever the game's is: the map's evidence needs log odds."""

REFERENCE_STEPS = 100
"""At least so many batches of B say what healthy texture is, without a warm-up too."""

WARMUP_SHARE = 0.25
"""A short training gives at most this share of itself to the warm-up."""

CERTAIN, ASKED_EVERY = 0.2, 50
"""A warm-up ends where D's loss, asked every so many steps, is below this (chance: 1.4, hinge 2).

Where a tenth of A is as healthy as B no D gets there, but by heart.
"""


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
        own_scores=("discriminator", "texture"),
        uses_mixed=True,
        tasks=("detection", "translation"),
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
        self.networks = {"translator": self.translator, "discriminator": self.discriminator}
        if d.texture_width > 0:
            self.networks[TEXTURE] = TextureDiscriminator(d.texture_width)
            self.networks[READER] = TextureDiscriminator(d.texture_width)
        if g.ema > 0:
            self.networks["translator_ema"] = copy.deepcopy(self.translator)
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        if config.loss.gradient_penalty > 0 or config.loss.real_gradient_penalty > 0:
            # Second derivatives come in the other layout, and its weights are many.
            self.discriminator.to(memory_format=torch.contiguous_format)
        self.optimizers = {}

    def prepare(self, fabric: Fabric) -> None:
        rates = dict.fromkeys(self._discriminators, self.config.discriminator.learning_rate)
        rates["translator"] = self.config.translator.learning_rate
        wrapped = self._set_up(fabric, rates, self.config.adam_betas)
        self.translator, self.discriminator = wrapped["translator"], wrapped["discriminator"]
        self.texture: nn.Module | None = wrapped.get(TEXTURE)
        self.reader: nn.Module | None = wrapped.get(READER)

    @property
    def batches_per_step(self) -> int:
        return self.config.candidates

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of one forward pass serve both: G does not change in between. Of all the
        images the reader learns, and of A it chooses what G gets; D learns of the first batches.
        """
        d = self.config.discriminator
        n = len(mixed) // self.config.candidates
        all_healthy, candidates = healthy, mixed
        healthy, mixed = healthy[:n], mixed[:n]
        warming = moment.step < d.warmup_steps and moment.fraction < WARMUP_SHARE and not self.ready
        certain = warming and self._is_certain(healthy, mixed, moment.step)
        warming = warming and not certain
        # A G step at once makes the method `ready`, so that the end of the warm-up is for good.
        translating = not warming and (certain or (moment.step + 1) % d.steps == 0)
        self._set_learning_rates(warming, moment)
        energies = []
        if self.reader is not None:
            reading = self._read_share(moment) < 1
            read = all_healthy if reading else healthy
            asked = mixed if warming and not reading else candidates  # what G and the reader want
            of_all = self._energies(torch.cat([read, asked]))
            energies = [of_all[: len(read)], of_all[len(read) :]]

        if warming:
            report = self._discriminator_step(healthy, [mixed], moment)
            return report | self._texture_step(energies, n, None, moment)
        suspects = mixed
        if len(candidates) > n:
            suspects = candidates[self._most_suspect(energies[1], n)]
        # D alone asks for no translation of B.
        both = torch.cat([suspects, healthy]) if translating else suspects
        with torch.set_grad_enabled(translating):
            translation: Translation = self.translator(both)
        fake = translation.healthy[: len(suspects)].detach()
        report = self._discriminator_step(healthy, [mixed, fake] if d.replay else [fake], moment)
        report |= self._texture_step(energies, n, fake, moment)
        if translating:
            report |= self._translator_step(both, len(suspects), translation)
        return report

    @torch.no_grad()
    def _is_certain(self, healthy: Tensor, mixed: Tensor, step: int) -> bool:
        """Whether D tells A from B so well that G should begin: more certain, it teaches less."""
        kind = self.config.loss.adversarial
        if kind == "wgan-gp" or step % ASKED_EVERY > 0:
            return False
        loss = losses.discriminator_adversarial(
            kind, *_verdicts(self.discriminator, healthy, mixed)
        )
        everywhere: Any = self.fabric.all_reduce(loss)
        return bool(everywhere < CERTAIN)

    @torch.no_grad()
    def _most_suspect(self, of_mixed: Tensor, n: int) -> Tensor:
        """Rows (n,) of the images of A that are least like B, by the reader, of their energies.

        Where few of A are diseased G would otherwise see little but healthy images, and learn to
        leave all alone.
        """
        verdicts: Tensor = self.networks[READER](of_mixed).mean(dim=(1, 2, 3))
        return verdicts.argsort()[:n]

    def _discriminator_step(
        self, healthy: Tensor, others: list[Tensor], moment: Moment
    ) -> dict[str, Tensor]:
        """Equation 9: D learns healthy images as real, all others as fake."""
        loss = self.config.loss
        fake = torch.cat(others)
        real_out, fake_out = _verdicts(self.discriminator, healthy, fake)
        adversarial = losses.discriminator_adversarial(loss.adversarial, real_out, fake_out)
        total = adversarial
        report = {
            "d_adversarial": adversarial.detach(),
            "d_gap": (real_out.mean() - fake_out.mean()).detach(),
        }
        if loss.gradient_penalty > 0:
            penalty = self._gradient_penalty(
                "discriminator", healthy, fake[-len(healthy) :], moment
            )
            total = total + loss.gradient_penalty * penalty
            report["d_gradient_penalty"] = penalty.detach()
        if loss.real_gradient_penalty > 0:
            penalty = losses.real_gradient_penalty(self.networks["discriminator"], healthy)
            total = total + loss.real_gradient_penalty / 2 * penalty
            report["d_real_gradient_penalty"] = penalty.detach()
        self._descend("discriminator", total)
        return report

    def _texture_step(
        self, energies: list[Tensor], n: int, fake: Tensor | None, moment: Moment
    ) -> dict[str, Tensor]:
        """Equation 9 for the discriminators of texture, where there are any.

        One plays against G and sees what D sees: the first n images of B and of A, and
        translations. The reader sees all images and never a translation, for a score that stays
        what it is while the game goes on. It plays no game, so its loss is always the logistic one,
        by which its verdicts are log odds.
        """
        if self.texture is None or self.reader is None:
            return {}
        of_healthy, of_mixed = energies
        others = [of_mixed[:n]] if fake is None or self.config.discriminator.replay else []
        others += [] if fake is None else [self._energies(fake)]
        kind = self.config.loss.adversarial
        lessons = [(TEXTURE, self.texture, of_healthy[:n], torch.cat(others), kind)]
        if self._read_share(moment) < 1:
            lessons.append((READER, self.reader, of_healthy, of_mixed, READER_LOSS))
        report = {}
        for name, judge, real, unreal, kind in lessons:
            if not self.ready or moment.step < REFERENCE_STEPS:
                self.networks[name].refer_to(real, self.fabric.all_reduce)  # type: ignore[operator]
            loss = losses.discriminator_adversarial(kind, *_verdicts(judge, real, unreal))
            self._descend(name, loss)
            report[f"d_{name.removeprefix('discriminator_')}"] = loss.detach()
        return report

    def _read_share(self, moment: Moment) -> float:
        """How much of its learning the reader has behind it; few images it soon knows by heart."""
        limit = self.config.discriminator.reader_passes
        if limit is None:
            return 0
        return min(1, moment.passes / limit, moment.step / REFERENCE_STEPS)

    def _energies(self, x: Tensor) -> Tensor:
        """What the discriminators of texture look at; fixed filters, the same for both."""
        with self.fabric.autocast():  # Fabric halves what it has wrapped alone
            energies: Tensor = self.networks[TEXTURE].energies(x)  # type: ignore[operator]
        return energies

    def _translator_step(
        self, both: Tensor, n_mixed: int, translation: Translation
    ) -> dict[str, Tensor]:
        """Equation 10: G makes A and B look healthy, keeps B and rebuilds A."""
        w = self.config.loss
        twin, b, m = translation
        mixed, healthy = both[:n_mixed], both[n_mixed:]
        judges = [d for d in (self.discriminator, self.texture) if d is not None]
        with frozen(*judges):
            verdicts = [self.discriminator(twin)]
            if self.texture is not None:
                verdicts.append(self.texture(self._energies(twin)))
            adversarial = [
                losses.translator_adversarial(w.adversarial, out[part])
                for out in verdicts
                for part in (slice(n_mixed), slice(n_mixed, None))
            ]
            terms = {
                "adversarial": torch.stack(adversarial).sum(),
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
            focus = (
                w.focus_size * terms["focus_size"] + w.focus_indecision * terms["focus_indecision"]
            )
            total = (
                terms["adversarial"]
                + w.identity * terms["identity"]
                + w.reconstruction * terms["reconstruction"]
                + w.focus * focus
                + w.change * terms["change"]
            )
            self._descend("translator", total)
        if "translator_ema" in self.networks:
            ema, raw = self.networks["translator_ema"], self.networks["translator"]
            done = next(iter(self.optimizers["translator"].state.values()))["step"]
            # Where gradients did not fit into float16 there may have been no update yet.
            average_weights(ema, raw, self.config.translator.ema, max(int(done) - 1, 0))
        return {f"g_{name}": term.detach() for name, term in terms.items()} | {
            "mask_mean": m.detach().mean()
        }

    def _set_learning_rates(self, warming: bool, moment: Moment) -> None:
        decay = linear_decay(moment.fraction, self.config.decay_from)
        d = self.config.discriminator
        rate = d.warmup_learning_rate if warming else d.learning_rate * decay
        rates = dict.fromkeys(self._discriminators, rate)
        rates["translator"] = self.config.translator.learning_rate * decay
        if READER in rates:
            own = linear_decay(self._read_share(moment), self.config.decay_from)
            rates[READER] = d.warmup_learning_rate * min(decay, own)  # it must not wait for G
        self._set_rates(rates)

    @property
    def _discriminators(self) -> list[str]:
        return [name for name in self.networks if name.startswith("discriminator")]

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

    @torch.no_grad()
    def find(self, x: Tensor, version: str | None = None) -> Finding:
        x = x.contiguous(memory_format=torch.channels_last)  # the discriminators' too
        twin, _, mask = self.translate(x, version)
        anomaly_map = difference_map(x, twin)
        if reach := round(self.config.map_closing * x.shape[-1]):
            anomaly_map = close_gaps(anomaly_map, reach)
        if self.config.map_smoothing > 0:
            sigma = self.config.map_smoothing * x.shape[-1]
            anomaly_map = gaussian_smooth(anomaly_map, sigma)
        doubts = lru_cache(partial(self._doubts, x))
        if self.config.map_evidence:
            places = over_pixels(doubts(READER), x.shape[-2], x.shape[-1])
            anomaly_map = anomaly_map * torch.sigmoid(places[:, 0])
        scores = {"discriminator": lambda: doubts("discriminator").mean(dim=(1, 2, 3))}
        if READER in self.networks:
            scores["texture"] = lambda: doubts(READER).mean(dim=(1, 2, 3))
        learned = self.config.translator.mask == "learned"
        return Finding(anomaly_map, twin, mask[:, 0] if learned else None, WhenAsked(**scores))

    def _doubts(self, x: Tensor, judge: str) -> Tensor:
        """What a discriminator says of places of images, (N, 1, h, w), high for unhealthy.

        The reader's, and by the logistic loss the other's, are log odds of A against B.
        """
        seen = self.networks[READER].energies(x) if judge == READER else x  # type: ignore[operator]
        doubts: Tensor = -self.networks[judge](seen).float()
        return doubts

    def diagnose(self, averages: Mapping[str, float]) -> str | None:
        mask, gap = averages.get("mask_mean"), averages.get("d_gap", 0.0)
        if self.config.translator.mask == "learned" and mask is not None:
            if mask < 0.002:
                return (
                    f"the mask has closed (mean {mask:.4f}): nothing is translated any more; try a "
                    "smaller method.loss.focus_size or method.loss.focus"
                )
            # A residual map is the change itself, which an open mask does not hide.
            if mask > 0.98 and self.config.translator.intermediate != "residual":
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


def _verdicts(judge: nn.Module, healthy: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """What a discriminator says of healthy and of other images; one pass for both."""
    out = judge(torch.cat([healthy, fake]))
    return out[: len(healthy)], out[len(healthy) :]
