"""A linear probe of frozen features: A against B, with a map, in a minute on one core.

The yardstick that everything bigger must beat, and the cheap check that the mixed set holds
something to learn. Two linear models on a frozen ImageNet backbone's features, one of places by
multiple-instance learning and one of whole images; see `a2bgan.models.evidence`.
"""

from pathlib import Path
from typing import ClassVar, Literal

import torch
from lightning_fabric import Fabric
from pydantic import Field
from torch import Tensor

from a2bgan.data import bounds
from a2bgan.models.backbone import Backbone
from a2bgan.models.evidence import STRIDES, Evidence, evidence_size, over_pixels
from a2bgan.models.inference import inference
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training.evidence_fit import (
    fit_evidence,
    reliability_in_words,
    told_apart_by_chance,
)
from a2bgan.training.methods.method import Facts, Finding, FitMethod, MethodConfig
from a2bgan.training.training_sets import TrainingSets


class ProbeConfig(MethodConfig):
    """Section ``method`` for the probe."""

    name: Literal["probe"]
    backbone: str = Field(description="a timm network with features at strides 8, 16 and 32")
    backbone_weights: Path | None = Field(
        description="file of its pretrained weights; null: installed or in timm's cache"
    )
    input_size: int | None = Field(
        ge=32,
        le=bounds.SIDE,
        description="side that images are resized to for the backbone; null: by data.size",
    )


class Probe(FitMethod):
    """Evidence of A against B, linear in a frozen backbone's features.

    Args:
        config: section ``method`` of the configuration.
        channels: of the images, 1 or 3.
        size: side of the images in pixels.
    """

    Config: ClassVar[type[MethodConfig]] = ProbeConfig
    facts: ClassVar[Facts] = Facts(
        title="Linear probe",
        paper="this project",
        score="evidence",
        own_scores=("evidence", "focal", "diffuse"),
        uses_mixed=True,
        makes_twin=False,
        pretrained=True,
    )

    def __init__(self, config: ProbeConfig, channels: int, size: int) -> None:
        self.config = config
        self.evidence = Evidence(
            Backbone(config.backbone, STRIDES, config.input_size or evidence_size(size))
        )
        self.networks = {"evidence": self.evidence}
        self.optimizers = {}

    def require(self) -> None:
        load_pretrained(self.evidence.backbone, self.config.backbone_weights)

    def prepare(self, fabric: Fabric) -> None:
        self.require()
        self.evidence.to(fabric.device)

    @property
    def map_scale(self) -> float:
        return 1.0

    @property
    def learned(self) -> str | None:
        return reliability_in_words(self.evidence)

    @property
    def told_apart_by_chance(self) -> bool:
        return told_apart_by_chance(self.evidence)

    def fit(self, sets: TrainingSets) -> None:
        fit_evidence(self.evidence, sets, self.device)

    def find(self, x: Tensor, version: str | None = None) -> Finding:
        """The map is the probability, by the focal model, that a place is of A."""
        with inference(self.evidence):
            found = self.evidence(x)
        maps = torch.sigmoid(over_pixels(found.odds, x.shape[-2:]))
        scores = {"evidence": found.score, "focal": found.focal, "diffuse": found.diffuse}
        return Finding(maps, scores=scores)
