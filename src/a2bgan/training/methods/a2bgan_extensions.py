"""A2B-GAN beyond its paper: frozen features for D, its warm-up, evidence, maps and diagnoses."""

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.backbone import Backbone
from a2bgan.models.evidence import PLACES, STRIDES, Evidence, evidence_size, over_pixels
from a2bgan.models.feature_discriminator import FeatureCritics, RelativeFeatures
from a2bgan.models.map_filters import close_gaps, gaussian_smooth
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training import losses
from a2bgan.training.evidence_fit import MOST_IMAGES, at_most, fit_evidence
from a2bgan.training.feature_cache import cached_features
from a2bgan.training.methods.method import EVIDENCE, Moment, StepMethod, WhenAsked
from a2bgan.training.methods.sections import Section
from a2bgan.training.training_sets import TrainingSets

FEATURES = "features"
"""Name of the network that gives D frozen features."""

GRID_OF_G = 64
"""Side of the grid on which G works where ``coarsening`` is left to the size of the images."""

SHARPNESS = 2.0
"""The map is multiplied by the sigmoid of a place's log odds times this."""

EVIDENCE_SHARE = 0.5
"""Weight of evidence in the score ``combined``."""

LEAST_CHANGE = 1e-6
"""Map values are raised to this before their logarithm is taken."""

SPREAD_IMAGES = 128
"""Images of each set that the spreads of features are measured on."""

WARMUP_BATCH = 16
"""Images of each set in a step of D's warm-up on features."""

WARMUP_SHARE = 0.25
"""Largest share of a short training that is warm-up."""


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

    removed: ClassVar[Mapping[str, Any]] = {"places": PLACES}


def coarsening_for(size: int) -> int:
    """Pixels a side that G sees as one in images of a size, for a grid of `GRID_OF_G` or more."""
    fitting = (k for k in range(size // GRID_OF_G, 1, -1) if size % (4 * k) == 0)
    return next(fitting, 1)


def combined_score(anomaly_map: Tensor, score: Tensor, evidence: Evidence) -> Tensor:
    """Logarithm (N,) of a map's highest value (N, H, W) and the score of evidence (N,), added up.

    The map points at places: it counts as much as the model of places does within the evidence.
    Evidence counts as far as it is trusted. Among healthy images the logarithm varies by a third or
    so and evidence by one, so that with `EVIDENCE_SHARE` of it both are of one size.
    """
    highest = anomaly_map.flatten(1).amax(1).clamp_min(LEAST_CHANGE)
    return evidence.weights[0] * highest.log() + EVIDENCE_SHARE * evidence.trust * score


class StoredFeatures:
    """A backbone's cached features of `MOST_IMAGES` of images (N, C, H, W) uint8 or uint16."""

    def __init__(self, images: np.ndarray, backbone: Backbone, device: torch.device) -> None:
        self.device = device
        self.maps = cached_features(at_most(images, MOST_IMAGES), backbone, device=device)

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Features (count, channels, h, w) of each stride of images drawn at random.

        The maps of half of them are mirrored, which is nearly what mirrored images have.
        """
        total = len(self.maps[0])
        rows = torch.randint(total, (count,), generator=generator, device=generator.device)
        mirrored = torch.rand(count, generator=generator, device=generator.device) < 0.5
        where = mirrored.to(self.device)[:, None, None, None]
        drawn = []
        for maps in self.maps:
            chosen = torch.from_numpy(maps[rows.cpu().numpy()]).to(self.device).float()
            drawn.append(torch.where(where, chosen.flip(3), chosen))
        return drawn


class Extensions(StepMethod):
    """D's view of images, its warm-up, and maps and scores from more than the difference."""

    @abstractmethod
    def _discriminator_step(
        self, real: list[Tensor], fake: list[Tensor], penalty: Tensor | None = None
    ) -> dict[str, Tensor]:
        """One step of D on views of images (see `_view`), by equation 9."""

    def _build_features(
        self, config: FeaturesConfig, width: int, size: int
    ) -> dict[str, nn.Module]:
        """Critics of frozen features in place of the paper's D, and the evidence."""
        backbone = Backbone(config.backbone, STRIDES, config.input_size)
        critics = FeatureCritics(backbone.channels, width)
        own = Backbone(config.backbone, STRIDES, config.evidence_size or evidence_size(size))
        return {
            FEATURES: RelativeFeatures(backbone),
            EVIDENCE: Evidence(own),
            "discriminator": critics,
        }

    def require(self) -> None:
        if self.config.discriminator.features is not None:
            for name in (FEATURES, EVIDENCE):
                backbone: Any = self.networks[name].backbone
                load_pretrained(backbone, self.config.discriminator.features.weights)

    def begin(self, sets: TrainingSets, *, resumed: bool) -> None:
        """Fit the evidence, and warm up D, which sees features, on A against B."""
        if self.evidence is None or resumed:
            return
        fit_evidence(self.evidence, sets, self.device)
        features: Any = self.networks[FEATURES]
        both = [
            StoredFeatures(images, features.backbone, self.device)
            for images in (sets.healthy, sets.mixed)
        ]
        generator = torch.Generator(self.device).manual_seed(0)
        drawn = [stored.draw(SPREAD_IMAGES, generator) for stored in both]
        features.set_spreads([torch.cat(maps) for maps in zip(*drawn, strict=True)])
        for _ in range(self.config.discriminator.warmup_steps):
            real, fake = (features.relative(s.draw(WARMUP_BATCH, generator)) for s in both)
            self._discriminator_step(real, fake)

    def _warming_up(self, moment: Moment) -> bool:
        """True while D, which sees pixels, learns alone."""
        d = self.config.discriminator
        return (
            d.features is None
            and moment.step < d.warmup_steps
            and moment.fraction < WARMUP_SHARE
            and not self.ready
        )

    def _view(self, x: Tensor) -> list[Tensor]:
        """Input of D for images: the images themselves, or maps of their features."""
        if FEATURES not in self.networks:
            return [x]
        with self.fabric.autocast():  # Fabric halves what it has wrapped alone
            maps: list[Tensor] = self.networks[FEATURES](x)
        return maps

    def _outputs(self, views: list[Tensor]) -> list[Tensor]:
        """Outputs of D that count in losses, one tensor a scale; see `losses.least_healthy`."""
        discriminator = self.wrapped["discriminator"]
        if FEATURES not in self.networks:
            return [discriminator(views[0])]
        return [losses.least_healthy(out, PLACES) for out in discriminator(views)]

    @property
    def default_score(self) -> str:
        """Map and evidence together; the paper's score without evidence."""
        return self.facts.score if self.evidence is None else "combined"

    def _map_and_scores(self, x: Tensor, difference: Tensor) -> tuple[Tensor, WhenAsked]:
        """Map from the difference of images and twins (N, H, W): closed, smoothed and, where there
        is evidence, weighed by it; and image scores."""
        side, anomaly_map = x.shape[-1], difference
        if reach := round(self.config.map_closing * side):
            anomaly_map = close_gaps(anomaly_map, reach)
        if self.config.map_smoothing > 0:
            anomaly_map = gaussian_smooth(anomaly_map, self.config.map_smoothing * side)
        scores: dict[str, Any] = {"discriminator": lambda: self._discriminator_score(x)}
        if (network := self.evidence) is not None:
            evidence = network(x)
            odds = over_pixels(evidence.odds, x.shape[-2:])
            anomaly_map = anomaly_map * torch.sigmoid(SHARPNESS * odds)
            scores["evidence"] = lambda: evidence.score
            scores["combined"] = lambda: combined_score(anomaly_map, evidence.score, network)
        return anomaly_map, WhenAsked(**scores)

    def _discriminator_score(self, x: Tensor) -> Tensor:
        """D's mean output for images, (n,), negated: high for unhealthy ones."""
        seen = self.networks[FEATURES](x) if FEATURES in self.networks else x
        outputs = self.networks["discriminator"](seen)
        maps = outputs if isinstance(outputs, list) else [outputs]
        return -torch.stack([out.float().mean(dim=(1, 2, 3)) for out in maps]).mean(0)


def diagnosis(
    averages: Mapping[str, float], residual: bool, adversarial: losses.Adversarial
) -> str | None:
    """A warning, with what to try, if recent averages of the step's numbers look sick."""
    mask, gap = averages.get("mask_mean"), averages.get("d_gap", 0.0)
    if mask is None:  # still warming up
        return None
    if mask < 0.002:
        return (
            f"the mask has closed (mean {mask:.4f}): nothing is translated any more; try a "
            "smaller method.loss.focus_size or method.loss.focus"
        )
    # A residual map is the change itself, which an open mask does not hide.
    if mask > 0.98 and not residual:
        return (
            f"the mask is open everywhere (mean {mask:.4f}) and points at nothing; try a "
            "larger method.loss.focus_size"
        )
    if abs(gap) < 1e-3:
        return (
            "the discriminator no longer tells healthy from translated images; try a larger "
            "method.discriminator.learning_rate or method.discriminator.warmup_steps"
        )
    if adversarial == "logistic" and averages["d_adversarial"] < 1e-3:
        return (
            "the discriminator is always right and teaches the translator nothing; try a "
            "smaller method.discriminator.learning_rate or stronger train.augment"
        )
    return None
