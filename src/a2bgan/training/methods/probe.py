"""A linear probe of frozen features: A against B, with a map, in a minute on one core.

The yardstick that everything bigger must beat, and the cheap check that the mixed set holds
something to learn. Two linear models on a frozen ImageNet backbone's features, one of places by
multiple-instance learning and one of whole images; see `a2bgan.models.evidence`.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from a2bgan.models.backbone import Backbone
from a2bgan.models.evidence import STRIDES, Evidence, evidence_size, over_pixels
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training.evidence_fit import fit_evidence
from a2bgan.training.methods.method import EVIDENCE, Facts, Finding, FitMethod
from a2bgan.training.methods.sections import BackboneConfig
from a2bgan.training.training_sets import TrainingSets


class ProbeConfig(BackboneConfig):
    """Section ``method`` for the probe."""

    name: Literal["probe"]


class Probe(FitMethod):
    """Evidence of A against B, linear in a frozen backbone's features."""

    Config = ProbeConfig
    facts = Facts(
        "Linear probe",
        "this project",
        score="evidence",
        own_scores=("evidence", "focal", "diffuse"),
        uses_mixed=True,
        makes_twin=False,
        pretrained=True,
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        side = self.config.input_size or evidence_size(size)
        self.backbone = Backbone(self.config.backbone, STRIDES, side)
        return {EVIDENCE: Evidence(self.backbone)}

    def require(self) -> None:
        load_pretrained(self.backbone, self.config.backbone_weights)

    @property
    def map_scale(self) -> float:
        return 1.0

    def fit(self, sets: TrainingSets) -> None:
        assert self.evidence is not None
        fit_evidence(self.evidence, sets, self.device)

    def _find(self, x: Tensor, version: str) -> Finding:
        """The map is the probability, by the focal model, that a place is of A."""
        found = self.networks[EVIDENCE](x)
        maps = torch.sigmoid(over_pixels(found.odds, x.shape[-2:]))
        scores = {"evidence": found.score, "focal": found.focal, "diffuse": found.diffuse}
        return Finding(maps, scores=scores)
