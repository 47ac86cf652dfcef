"""A2B-GAN: translate any image to a healthy one; what had to change is the anomaly."""

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import torch
from lightning_fabric import Fabric
from pydantic import Field, model_validator
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone
from a2bgan.models.blend import difference_map, masked_reconstruction
from a2bgan.models.closing import close_gaps
from a2bgan.models.discriminator import Discriminator, Initialisation, discriminator_depth
from a2bgan.models.evidence import STRIDES, Evidence, evidence_size, over_pixels
from a2bgan.models.feature_critics import FeatureCritics
from a2bgan.models.frozen import frozen
from a2bgan.models.pretrained import load_pretrained
from a2bgan.models.relative_features import RelativeFeatures
from a2bgan.models.smoothing import gaussian_smooth
from a2bgan.models.translator import Intermediate, Mask, Translation, Translator, Upsampling
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.evidence_fit import (
    fit_evidence,
    reliability_in_words,
    told_apart_by_chance,
)
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
from a2bgan.training.raw_features import RawFeatures
from a2bgan.training.training_sets import TrainingSets


class TranslatorConfig(Section):
    """Section ``method.translator``: the network G and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    blocks: int = Field(ge=0, le=bounds.LAYERS)
    upsampling: Upsampling
    intermediate: Intermediate
    mask: Mask = Field(
        description="none: x' = b; reconstruction, focus and mask_start then do nothing"
    )
    mask_start: float | None = Field(gt=0, lt=1)
    coarsening: int | None = Field(
        1,
        ge=1,
        le=bounds.SIDE,
        description="pixels a side that G sees as one; null: G sees 64 x 64 of them",
    )
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights; 0 keeps none")


class FeaturesConfig(Section):
    """Section ``method.discriminator.features``: the frozen features that D looks at."""

    backbone: str = Field(description="a timm network with features at strides 8, 16 and 32")
    weights: Path | None = Field(
        None, description="file of its pretrained weights; null: installed or in timm's cache"
    )
    input_size: int = Field(
        ge=32, le=bounds.SIDE, description="side that images are resized to for D"
    )
    evidence_size: int | None = Field(
        ge=32,
        le=bounds.SIDE,
        description="side that images are resized to for evidence; null: see `evidence_size`",
    )
    places: float = Field(
        gt=0, le=1, description="share of an image's places, the least healthy, that D judges by"
    )


class DiscriminatorConfig(Section):
    """Section ``method.discriminator``: the network D and how it learns."""

    width: int = Field(ge=2, le=bounds.CHANNELS)
    depth: int | None = Field(
        ge=1, le=bounds.LAYERS, description="null follows the image size; for pixels alone"
    )
    initialisation: Initialisation
    learning_rate: float = Field(gt=0, le=bounds.RATE)
    steps: int = Field(ge=1, le=bounds.STEPS, description="D steps for each G step")
    warmup_steps: int = Field(
        ge=0,
        le=bounds.STEPS,
        description="first steps with D alone, on A against B; with features before step 0",
    )
    replay: bool = Field(description="D keeps seeing A itself beside translated A")
    features: FeaturesConfig | None = Field(
        description="null: D looks at pixels, as in the paper, and there is no evidence"
    )


class LossConfig(Section):
    """Section ``method.loss``: the objective (eqs. 3-10); a weight of 0 leaves a term out."""

    adversarial: losses.Adversarial
    gradient_penalty: float = Field(
        ge=0, le=bounds.WEIGHT, description="lambda_gp, eq. 4; for wgan-gp"
    )
    identity: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_id, eq. 6")
    reconstruction: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_rec, eq. 7")
    focus: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_f, eq. 10")
    focus_size: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_fs, eq. 8")
    focus_size_power: Literal[1, 2]
    focus_indecision: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_fz, eq. 8")
    change: float = Field(ge=0, le=bounds.WEIGHT, description="price of |x' - x|; not the paper's")


class A2BGANConfig(MethodConfig):
    """Section ``method`` for A2B-GAN."""

    name: Literal["a2bgan"]
    translator: TranslatorConfig
    discriminator: DiscriminatorConfig
    loss: LossConfig
    map_closing: float = Field(
        0, ge=0, le=0.1, description="gaps of the map up to twice this share of the side are filled"
    )
    map_smoothing: float = Field(
        0, ge=0, le=0.1, description="sigma, as a share of the side; 0 leaves the map as it is"
    )
    adam_betas: AdamBetas
    decay_from: DecayFrom

    @model_validator(mode="after")
    def _the_penalty_is_for_pixels(self) -> Self:
        if self.discriminator.features is not None and self.loss.adversarial == "wgan-gp":
            raise ValueError(
                "discriminator.features needs loss.adversarial = 'logistic' or 'hinge': "
                "the penalty of wgan-gp is for a discriminator of pixels"
            )
        return self


FEATURES, EVIDENCE = "features", "evidence"
"""Names of the networks that give frozen features and that read evidence from them."""

PLACES_OF_G = 64
"""Side of the grid on which G works where ``coarsening`` is left to the size of the images."""

SHARPNESS = 2.0
"""The map counts as far as a place's log odds, times this, speak for A; see `A2BGAN.find`."""

EVIDENCE_SHARE = 0.5
"""How much evidence counts in the score `combined`."""

LEAST_CHANGE = 1e-6
"""Map values are raised to this before their logarithm is taken."""

SPREAD_IMAGES = 128
"""So many images of each set say how far features spread."""

WARMUP_BATCH = 16
"""Images of each set in a step of D's warm-up on features."""

WARMUP_SHARE = 0.25
"""A short training gives at most this share of itself to the warm-up."""


def coarsening_for(size: int) -> int:
    """How many of ``size`` pixels a side G sees as one, for a grid of at least `PLACES_OF_G`."""
    fitting = (k for k in range(size // PLACES_OF_G, 1, -1) if size % (4 * k) == 0)
    return next(fitting, 1)


def combined_score(anomaly_map: Tensor, score: Tensor, evidence: Evidence) -> Tensor:
    """Logarithm (N,) of a map's highest value (N, H, W) and the score of evidence (N,), added up.

    The map points at places: it counts as much as the model of places does within the evidence.
    Evidence counts as far as it is trusted. Among healthy images the logarithm varies by a third or
    so and evidence by one, so that with `EVIDENCE_SHARE` of it both are of one size.
    """
    highest = anomaly_map.flatten(1).amax(1).clamp_min(LEAST_CHANGE)
    return evidence.weights[0] * highest.log() + EVIDENCE_SHARE * evidence.trust * score


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
        own_scores=("discriminator", "evidence", "combined"),
        uses_mixed=True,
        tasks=("detection", "translation"),
    )

    def __init__(self, config: A2BGANConfig, channels: int, size: int) -> None:
        g, d = config.translator, config.discriminator
        coarsening = coarsening_for(size) if g.coarsening is None else g.coarsening
        if size % (4 * coarsening):
            raise InputError(
                f"data.size={size}: method.translator.coarsening={coarsening} needs a multiple of "
                f"{4 * coarsening}"
            )
        self.config = config
        self.translator: nn.Module = Translator(
            channels,
            g.width,
            g.blocks,
            g.upsampling,
            g.intermediate,
            g.mask,
            g.mask_start,
            coarsening,
        )
        self.discriminator: nn.Module
        self.networks = {"translator": self.translator}
        if d.features is None:
            depth = discriminator_depth(size, d.depth)
            self.discriminator = Discriminator(channels, d.width, depth, d.initialisation)
        else:
            backbone = Backbone(d.features.backbone, STRIDES, d.features.input_size)
            self.discriminator = FeatureCritics(backbone.channels, d.width)
            self.networks[FEATURES] = RelativeFeatures(backbone)
            side = d.features.evidence_size or evidence_size(size)
            own = Backbone(d.features.backbone, STRIDES, side)
            self.networks[EVIDENCE] = Evidence(own)
        self.networks["discriminator"] = self.discriminator
        if g.ema > 0:
            self.networks["translator_ema"] = copy.deepcopy(self.translator)
        for network in self.networks.values():
            network.to(memory_format=torch.channels_last)
        if config.loss.gradient_penalty > 0:
            # Second derivatives come in the other layout, and its weights are many.
            self.discriminator.to(memory_format=torch.contiguous_format)
        self.optimizers = {}

    def require(self) -> None:
        if self.config.discriminator.features is not None:
            for name in (FEATURES, EVIDENCE):
                backbone: Any = self.networks[name].backbone
                load_pretrained(backbone, self.config.discriminator.features.weights)

    def prepare(self, fabric: Fabric) -> None:
        self.require()
        rates = {
            "translator": self.config.translator.learning_rate,
            "discriminator": self.config.discriminator.learning_rate,
        }
        wrapped = self._set_up(fabric, rates, self.config.adam_betas)
        self.translator, self.discriminator = wrapped["translator"], wrapped["discriminator"]

    def begin(self, sets: TrainingSets, *, resumed: bool) -> None:
        """Fit the evidence, and warm up D, which sees features, on A against B."""
        if self.config.discriminator.features is None or resumed:
            return
        fit_evidence(self.networks[EVIDENCE], sets, self.device)  # type: ignore[arg-type]
        features: Any = self.networks[FEATURES]
        both = [
            RawFeatures(images, features.backbone, self.device)
            for images in (sets.healthy, sets.mixed)
        ]
        generator = torch.Generator(self.device).manual_seed(0)
        drawn = [raw.draw(SPREAD_IMAGES, generator) for raw in both]
        features.set_spreads([torch.cat(maps) for maps in zip(*drawn, strict=True)])
        for _ in range(self.config.discriminator.warmup_steps):
            real, unhealthy = (features.relative(raw.draw(WARMUP_BATCH, generator)) for raw in both)
            self._discriminator_step(real, [unhealthy])

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of one forward pass serve both: G does not change in between.
        """
        d = self.config.discriminator
        n = len(mixed)
        warming = (
            d.features is None
            and moment.step < d.warmup_steps
            and moment.fraction < WARMUP_SHARE
            and not self.ready
        )
        translating = not warming and (moment.step + 1) % d.steps == 0
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))

        # Augmented like what G translates: D must not take a shift or a contrast for disease.
        with torch.no_grad():
            raw = self._look(torch.cat([healthy, mixed]))
        real, unhealthy = [part[: len(healthy)] for part in raw], [part[-n:] for part in raw]
        if warming:
            return self._discriminator_step(real, [unhealthy])

        # D alone asks for no translation of B.
        both = torch.cat([mixed, healthy]) if translating else mixed
        with torch.set_grad_enabled(translating):
            translation: Translation = self.translator(both)
            seen = self._look(translation.healthy)
        fake = [part[:n].detach() for part in seen]
        report = self._discriminator_step(
            real, [unhealthy, fake] if d.replay else [fake], self._penalty(healthy, fake, moment)
        )
        if translating:
            report |= self._translator_step(both, n, translation, seen)
        return report

    def _look(self, x: Tensor) -> list[Tensor]:
        """What D sees of images: the images themselves, or maps of their features."""
        if self.config.discriminator.features is None:
            return [x]
        with self.fabric.autocast():  # Fabric halves what it has wrapped alone
            seen: list[Tensor] = self.networks[FEATURES](x)
        return seen

    def _verdicts(self, seen: Sequence[Tensor]) -> list[Tensor]:
        """Outputs of D for what it sees, one for each scale: of the places that it judges by."""
        if self.config.discriminator.features is None:
            return [self.discriminator(seen[0])]
        return [self._least_healthy(out) for out in self.discriminator(seen)]

    def _least_healthy(self, out: Tensor) -> Tensor:
        assert self.config.discriminator.features is not None
        return losses.least_healthy(out, self.config.discriminator.features.places)

    def _discriminator_step(
        self, real: list[Tensor], others: list[list[Tensor]], penalty: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Equation 9: D learns healthy images as real, all others as fake."""
        loss = self.config.loss
        n = len(real[0])
        seen = [torch.cat(parts) for parts in zip(real, *others, strict=True)]
        outputs = self._verdicts(seen)
        adversarial = torch.stack(
            [
                losses.discriminator_adversarial(loss.adversarial, out[:n], out[n:])
                for out in outputs
            ]
        ).sum()
        gaps = [out[:n].mean() - out[n:].mean() for out in outputs]
        report = {
            "d_adversarial": adversarial.detach(),
            "d_gap": torch.stack(gaps).mean().detach(),
        }
        total = adversarial
        if penalty is not None:
            total = total + loss.gradient_penalty * penalty
            report["d_gradient_penalty"] = penalty.detach()
        self._descend("discriminator", total)
        return report

    def _penalty(self, healthy: Tensor, fake: list[Tensor], moment: Moment) -> Tensor | None:
        if self.config.loss.gradient_penalty == 0:
            return None
        return self._gradient_penalty("discriminator", healthy, fake[0], moment)

    def _translator_step(
        self, both: Tensor, n_mixed: int, translation: Translation, seen: list[Tensor]
    ) -> dict[str, Tensor]:
        """Equation 10: G makes A and B look healthy, keeps B and rebuilds A."""
        w = self.config.loss
        twin, b, m = translation
        mixed, healthy = both[:n_mixed], both[n_mixed:]
        with frozen(self.discriminator):
            adversarial = [
                losses.translator_adversarial(w.adversarial, out[part])
                for out in self._verdicts(seen)
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

    @property
    def learned(self) -> str | None:
        evidence: Any = self.networks.get(EVIDENCE)
        return None if evidence is None else reliability_in_words(evidence)

    @property
    def told_apart_by_chance(self) -> bool:
        evidence: Any = self.networks.get(EVIDENCE)
        return evidence is not None and told_apart_by_chance(evidence)

    @property
    def default_score(self) -> str:
        """Map and evidence together; the paper's score without evidence."""
        return "combined" if EVIDENCE in self.networks else self.facts.score

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
        scores: dict[str, Any] = {"discriminator": lambda: self._doubt(x)}
        if EVIDENCE in self.networks:
            network: Any = self.networks[EVIDENCE]
            evidence = network(x)
            odds = over_pixels(evidence.odds, x.shape[-2:])
            anomaly_map = anomaly_map * torch.sigmoid(SHARPNESS * odds)
            scores["evidence"] = lambda: evidence.score
            scores["combined"] = lambda: combined_score(anomaly_map, evidence.score, network)
        learned = self.config.translator.mask == "learned"
        return Finding(anomaly_map, twin, mask[:, 0] if learned else None, WhenAsked(**scores))

    def _doubt(self, x: Tensor) -> Tensor:
        """D's mean output for images, (n,), high for unhealthy."""
        seen = self.networks[FEATURES](x) if FEATURES in self.networks else x
        outputs = self.networks["discriminator"](seen)
        maps = outputs if isinstance(outputs, list) else [outputs]
        return -torch.stack([out.float().mean(dim=(1, 2, 3)) for out in maps]).mean(0)

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
