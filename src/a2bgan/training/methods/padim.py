"""PaDiM: a Gaussian of a pretrained network's features at every position of healthy images.

Defard, Setkov, Loesch and Audigier: PaDiM: a Patch Distribution Modeling Framework for Anomaly
Detection and Localization, ICPR 2020 workshops (LNCS 2021).

As in the paper: the first three stages of a ResNet, the deeper two resized to the first's grid and
all joined; a random subset of the channels (100 of ResNet-18's, 550 of Wide ResNet-50-2's); mean
and covariance at each position, 0.01 added to the diagonal (eq. 1); Mahalanobis distances (eq. 2),
upsampled bilinearly to the input and smoothed with a Gaussian of sigma 4; their maximum as score.

Differences:
- Means and covariances are streamed and stored as triangles: memory does not grow with the images.
- Any timm backbone with stages at strides 4, 8 and 16, or vision transformer; by default
  EfficientNet-Lite0, 100 of its 176 channels, and 10 on the diagonal (their variance is about
  20). Preset `padim-paper` has the paper's larger ResNet with the same weights (torchvision's first
  ImageNet ones), which must be there.
- Images and random features: see `a2bgan.training.methods.frozen_backbone`.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.errors import InputError
from a2bgan.models.backbone import on_the_first_grid
from a2bgan.models.fitted import PositionGaussians
from a2bgan.training.methods.frozen_backbone import FrozenBackboneConfig, FrozenBackboneMethod
from a2bgan.training.methods.method import Facts


class PaDiMConfig(FrozenBackboneConfig):
    """Section ``method`` for PaDiM."""

    name: Literal["padim"]
    channels: int = Field(
        ge=1, le=bounds.CHANNELS, description="drawn from the features'; memory grows as its square"
    )
    regularisation: float = Field(gt=0, le=bounds.WEIGHT, description="epsilon, eq. 1")


class PaDiM(FrozenBackboneMethod):
    """A Gaussian at every position, fitted to healthy images in one pass."""

    Config = PaDiMConfig
    facts = Facts(
        "PaDiM",
        "Defard et al., ICPR 2020",
        score="max",
        own_scores=("max",),
        makes_twin=False,
        pretrained=True,
    )
    strides = (4, 8, 16)

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c, there = self.config, sum(self.backbone.channels)
        if c.channels > there:
            raise InputError(
                f"method.channels={c.channels}: {c.backbone} has {there} at strides "
                f"{', '.join(map(str, self.backbone.strides))}; set as many or fewer"
            )
        self.gaussians = PositionGaussians(c.regularisation)
        chosen = torch.randperm(there)[: c.channels].sort().values
        self.gaussians.register_buffer("chosen", chosen)
        return {"backbone": self.backbone, "memory": self.gaussians}

    def _learn(self, healthy: Tensor) -> None:
        self.gaussians.update(self._embed(self.backbone(healthy)))

    def _close(self) -> None:
        self.gaussians.close()

    def _compare(self, features: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        maps = self._smooth(self.gaussians.distances(self._embed(features)))
        return maps, {"max": maps.amax((1, 2))}

    def _embed(self, stages: list[Tensor]) -> Tensor:
        """The chosen channels of three stages, (N, channels, h, w)."""
        chosen = self.gaussians.get_buffer("chosen")
        parts, first = [], 0
        for features in stages:
            # Before resizing: all channels on the first's grid would be gigabytes.
            own = chosen[(chosen >= first) & (chosen < first + features.shape[1])]
            parts.append(features[:, own - first])
            first += features.shape[1]
        return on_the_first_grid(parts, "nearest")
