"""A2B-GAN: translate any image to a healthy one; what had to change is the anomaly.

M. M. Rahman Siddiquee, J. Shah, T. Wu, C. Chong, T. J. Schwedt, B. Li, "HealthyGAN: Learning from
Unannotated Medical Images to Detect Anomalies Associated with Human Disease", SASHIMI 2022. This is
its training step (equations 1 to 10, each a function of `a2bgan.training.losses`
or `a2bgan.models.blend`); all that goes beyond the paper is in `a2bgan_extensions`.

Preset `paper` follows the text of its first version (A2B-GAN), `healthygan` the released code.
Where they differ:

- The size term of equation 8 (``method.loss.focus_squared``): the text prints the mean of the mask,
  the code squares the mean over all masks of a batch. (The other presets square each image's.)
- The rates (``method.decay_from``): in the text they fall over the last 100,000 of 400,000 steps,
  here linearly to zero. The code means that too, but lowers them once in 1000 steps by what is
  meant for one, and so ends at 99.9 % of them: `healthygan` keeps them.
- Channels (``data.channels``): the code has three, grey repeated; the text does not say, and
  `paper` has one.

What differs from both, in the images and their order:

- The code cuts the top off at the last whole row below 8 % and resizes with Pillow's bilinear
  filter; here the row is the nearest, and the filter Lanczos's. Both have antialiasing.
- The code shuffles numbers from 0 to |A| + |B| and takes, for each, the image of A and of B that
  it is modulo |A| and |B|; its last batch of a pass is smaller. Here each set is shuffled by itself
  and all batches are whole.
- The second term of equation 8 lacks the code's constant, which has no gradient.
"""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.models.blend import difference_map, masked_reconstruction
from a2bgan.models.discriminator import Discriminator, discriminator_depth
from a2bgan.models.translator import Intermediate, Translation, Translator
from a2bgan.training import losses
from a2bgan.training.averaging import average_weights
from a2bgan.training.methods.a2bgan_extensions import (
    Extensions,
    FeaturesConfig,
    coarsening_for,
    diagnosis,
)
from a2bgan.training.methods.method import Facts, Finding, Moment, detached, frozen, linear_decay
from a2bgan.training.methods.sections import (
    DiscriminatorConfig,
    Section,
    TranslationConfig,
    TranslatorConfig,
)


class A2BGANTranslatorConfig(TranslatorConfig):
    """Section ``method.translator``: the network G and how it learns."""

    intermediate: Intermediate = Field(
        description="tanh: b, as in the paper; residual: b - x, from zero; "
        "additive: b = tanh(x + delta)"
    )
    mask_start: float | None = Field(gt=0, lt=1, description="null: by chance, as in the paper")
    coarsening: int | None = Field(
        1,
        ge=1,
        le=bounds.SIDE,
        description="pixels a side that G sees as one; null: G sees 64 x 64 of them",
    )
    ema: float = Field(ge=0, lt=1, description="decay of the averaged weights; 0 keeps none")

    removed: ClassVar[Mapping[str, Any]] = {"mask": "learned"}


class A2BGANDiscriminatorConfig(DiscriminatorConfig):
    """Section ``method.discriminator``: the network D and how it learns."""

    warmup_steps: int = Field(
        ge=0,
        le=bounds.STEPS,
        description="first steps with D alone, on A against B; with features before step 0",
    )
    replay: bool = Field(description="D keeps seeing A itself beside translated A")
    features: FeaturesConfig | None = Field(
        description="null: D looks at pixels, as in the paper, and there is no evidence"
    )

    removed: ClassVar[Mapping[str, Any]] = {"initialisation": "default"}


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
    focus_squared: losses.FocusSquared = Field(
        "image",
        description="mean mask that eq. 8's size term squares: each image's; the batch's, as in "
        "the released code; none, as the paper prints it",
    )
    focus_indecision: float = Field(ge=0, le=bounds.WEIGHT, description="lambda_fz, eq. 8")
    change: float = Field(ge=0, le=bounds.WEIGHT, description="price of |x' - x|; not the paper's")

    removed: ClassVar[Mapping[str, Any]] = {"focus_size_power": 2}


class A2BGANConfig(TranslationConfig):
    """Section ``method`` for A2B-GAN."""

    name: Literal["a2bgan"]
    translator: A2BGANTranslatorConfig
    discriminator: A2BGANDiscriminatorConfig
    loss: LossConfig
    map_closing: float = Field(
        0, ge=0, le=0.1, description="gaps of the map up to twice this share of the side are filled"
    )
    map_smoothing: float = Field(
        0, ge=0, le=0.1, description="sigma, as a share of the side; 0 leaves the map as it is"
    )

    @model_validator(mode="after")
    def _the_penalty_is_for_pixels(self) -> Self:
        if self.discriminator.features is not None and self.loss.adversarial == "wgan-gp":
            raise ValueError(
                "discriminator.features needs loss.adversarial = 'logistic': "
                "the penalty of wgan-gp is for a discriminator of pixels"
            )
        return self


class A2BGAN(Extensions):
    """Translator G and discriminator D, trained by equations 1 to 10."""

    Config = A2BGANConfig
    finders = ("translator",)
    facts = Facts(
        "A2B-GAN",
        "Siddiquee et al., SASHIMI 2022 (as HealthyGAN)",
        own_scores=("discriminator", "evidence", "combined"),
        uses_mixed=True,
        tasks=("detection", "translation"),
    )

    def __init__(self, config: A2BGANConfig, channels: int, size: int) -> None:
        super().__init__(config, channels, size)
        if config.loss.gradient_penalty > 0:
            # Second derivatives come in the other layout, and its weights are many.
            self.networks["discriminator"].to(memory_format=torch.contiguous_format)

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        g, d = self.config.translator, self.config.discriminator
        coarsening = coarsening_for(size) if g.coarsening is None else g.coarsening
        if size % (4 * coarsening):
            raise InputError(
                f"data.size={size}: method.translator.coarsening={coarsening} needs a multiple of "
                f"{4 * coarsening}"
            )
        translator = Translator(
            channels,
            g.width,
            g.blocks,
            g.upsampling,
            g.intermediate,
            mask_start=g.mask_start,
            coarsening=coarsening,
        )
        networks: dict[str, nn.Module] = {"translator": translator}
        if d.features is None:
            depth = discriminator_depth(size, d.depth)
            networks["discriminator"] = Discriminator(channels, d.width, depth)
        else:
            networks |= self._build_features(d.features, d.width, size)
        if g.ema > 0:
            networks["translator_ema"] = copy.deepcopy(translator).requires_grad_(False)
        return networks

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One D step and, every ``discriminator.steps``-th time, one G step.

        The translations of one forward pass serve both: G does not change in between.
        """
        d, n = self.config.discriminator, len(mixed)
        self._scale_rates(linear_decay(moment.fraction, self.config.decay_from))

        # Augmented like what G translates: D must not take a shift or a contrast for disease.
        with torch.no_grad():
            untranslated = self._view(torch.cat([healthy, mixed]))
        real = [part[: len(healthy)] for part in untranslated]
        replayed = [part[-n:] for part in untranslated]
        if self._warming_up(moment):
            return self._discriminator_step(real, replayed)

        translating = (moment.step + 1) % d.steps == 0
        # D alone asks for no translation of B.
        both = torch.cat([mixed, healthy]) if translating else mixed
        with torch.set_grad_enabled(translating):
            translation: Translation = self.wrapped["translator"](both)
            views = self._view(translation.healthy)
        fake = [view[:n].detach() for view in views]
        penalty = None
        if self.config.loss.gradient_penalty > 0:
            penalty = self._gradient_penalty("discriminator", healthy, fake[0], moment)
        if d.replay:
            fake = [torch.cat(pair) for pair in zip(replayed, fake, strict=True)]
        report = self._discriminator_step(real, fake, penalty)
        if translating:
            report |= self._translator_step(mixed, healthy, translation, views)
        return report

    def _discriminator_step(
        self, real: list[Tensor], fake: list[Tensor], penalty: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Equation 9: D learns views of healthy images as real, all others as fake."""
        w, n = self.config.loss, len(real[0])
        outputs = self._outputs([torch.cat(pair) for pair in zip(real, fake, strict=True)])
        adversarial = [
            losses.discriminator_adversarial(w.adversarial, out[:n], out[n:]) for out in outputs
        ]
        gaps = [out[:n].mean() - out[n:].mean() for out in outputs]
        total = torch.stack(adversarial).sum()
        terms = {"adversarial": total, "gap": torch.stack(gaps).mean()}
        if penalty is not None:
            total = total + w.gradient_penalty * penalty
            terms["gradient_penalty"] = penalty
        self._descend(total, "discriminator")
        return detached(terms, "d_")

    def _translator_step(
        self, mixed: Tensor, healthy: Tensor, translation: Translation, views: list[Tensor]
    ) -> dict[str, Tensor]:
        """Equation 10: G makes A and B look healthy, keeps B and rebuilds A."""
        w, n = self.config.loss, len(mixed)
        twin, b, m = translation
        with frozen(self.wrapped["discriminator"]):
            adversarial = [
                losses.translator_adversarial(w.adversarial, of_one_set)
                for out in self._outputs(views)
                for of_one_set in (out[:n], out[n:])
            ]
            rebuilt = masked_reconstruction(mixed, b[:n], m[:n])
            terms = {
                "adversarial": torch.stack(adversarial).sum(),
                "identity": losses.identity(b[n:], healthy),
                "reconstruction": losses.reconstruction(mixed, rebuilt),
                "focus": losses.focus(
                    (m[:n], m[n:]), w.focus_size, w.focus_indecision, w.focus_squared
                ),
                "change": losses.change(torch.cat([mixed, healthy]), twin),
            }
            total = (
                terms["adversarial"]
                + w.identity * terms["identity"]
                + w.reconstruction * terms["reconstruction"]
                + w.focus * terms["focus"]
                + w.change * terms["change"]
            )
            self._descend(total, "translator")
        self._average_translator()
        return detached(terms, "g_") | {"mask_mean": m.detach().mean()}

    def _average_translator(self) -> None:
        """Let the averaged weights follow, where they are kept."""
        if "translator_ema" in self.networks:
            ema, raw = self.networks["translator_ema"], self.networks["translator"]
            done = next(iter(self.optimizers["translator"].state.values()))["step"]
            # Where gradients did not fit into float16 there may have been no update yet.
            average_weights(ema, raw, self.config.translator.ema, max(int(done) - 1, 0))

    @property
    def versions(self) -> tuple[str, ...]:
        return ("ema", "raw") if "translator_ema" in self.networks else ("raw",)

    @torch.no_grad()
    def translate(self, x: Tensor, version: str | None = None) -> Translation:
        """Healthy twins of images (N, C, H, W) in [-1, 1], without gradients."""
        averaged = (version or self.versions[0]) == "ema"
        network = self.networks["translator_ema" if averaged else "translator"]
        twin, b, m = network(x.contiguous(memory_format=torch.channels_last))
        return Translation(twin.clamp(-1, 1), b, m)

    def _find(self, x: Tensor, version: str) -> Finding:
        twin, _, mask = self.translate(x, version)
        anomaly_map, scores = self._map_and_scores(x, difference_map(x, twin))
        return Finding(anomaly_map, twin, mask[:, 0], scores)

    def diagnose(self, averages: Mapping[str, float]) -> str | None:
        residual = self.config.translator.intermediate == "residual"
        return diagnosis(averages, residual, self.config.loss.adversarial)
