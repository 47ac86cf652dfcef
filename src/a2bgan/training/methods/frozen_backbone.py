"""Base of methods that look once at a frozen backbone's features of healthy images.

Images are resized to ``input_size``, which may be larger than they are, and not cropped (the
papers: 256, central 224); grey ones are repeated to three channels. Sigma counts in pixels of that
size; the map is then resized to the image's. ``random_features`` does without pretrained weights,
for tests and measurements of memory; all results are marked.
"""

from abc import abstractmethod
from contextlib import nullcontext
from typing import Any, ClassVar, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional

from a2bgan.models.backbone import Backbone
from a2bgan.models.coreset import Reservoir
from a2bgan.models.fitted import Fitted
from a2bgan.models.map_filters import gaussian_smooth
from a2bgan.models.pretrained import load_pretrained
from a2bgan.training.methods.method import Finding, PassMethod
from a2bgan.training.methods.sections import BackboneConfig

SMOOTHING = 4.0
"""Sigma of the Gaussian that smooths maps, in pixels of the backbone's input (both papers)."""

BRIGHTEST = 3.0
"""The brightest colour of pictures, in multiples of the highest value of some healthy maps.

Distances are never near 0: with less, the colours would hide healthy images too.
"""

SAMPLE = 16
"""Healthy images, drawn from all, that ``map_scale`` is measured on."""

LEAST_SCALE = 1e-3
"""Lower bound of ``map_scale``: where healthy images are all alike, their maps are 0."""


class FrozenBackboneConfig(BackboneConfig):
    """Section ``method`` of these methods."""

    random_features: bool = Field(description="do without pretrained weights; results are marked")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if self.random_features and self.backbone_weights is not None:
            raise ValueError("give either method.backbone_weights or method.random_features")
        return self


class FrozenBackboneMethod(PassMethod):
    """A method with networks "backbone", which is frozen, and "memory", which is fitted.

    ``strides`` are those of the backbone's stages that it looks at.
    """

    strides: ClassVar[tuple[int, ...]]

    def __init__(self, config: FrozenBackboneConfig, channels: int, size: int) -> None:
        self.backbone = Backbone(config.backbone, self.strides, config.input_size or size)
        super().__init__(config, channels, size)
        self._sample = Reservoir(SAMPLE, seed=0)

    def require(self) -> None:
        if not self.config.random_features:
            load_pretrained(self.backbone, self.config.backbone_weights)

    @property
    def note(self) -> str | None:
        return "random features" if self.config.random_features else None

    @property
    def _memory(self) -> Fitted:
        network: Any = self.networks["memory"]
        return network  # type: ignore[no-any-return]

    @property
    def map_scale(self) -> float:
        return float(self._memory.map_scale)

    @torch.no_grad()
    def absorb(self, healthy: Tensor) -> None:
        self._learn(healthy)
        self._image_shape = healthy.shape[1:]
        self._sample.add(healthy.flatten(1))

    def finish(self) -> None:
        self._close()
        sample = self._sample.points.view(-1, *self._image_shape).to(self.device)
        # Moved by half a step of the features' grid: the memory may hold the images as they are.
        step = max(1, self.backbone.strides[0] * sample.shape[-1] // self.backbone.input_size // 2)
        maps = self.find(moved(sample, step)).anomaly_map
        assert maps is not None
        self._memory.map_scale.copy_(BRIGHTEST * maps.max()).clamp_(min=LEAST_SCALE)
        self._sample = Reservoir(SAMPLE, seed=0)

    def _find(self, x: Tensor, version: str) -> Finding:
        features, kind = self.backbone(x), x.device.type
        # Under autocast (`detect` with ``half``) only convolutions: distances need their digits.
        halved = torch.is_autocast_enabled(kind)  # exports need not know of it elsewhere
        with torch.autocast(kind, enabled=False) if halved else nullcontext():
            maps, scores = self._compare(features)
            return Finding(_resized(maps, x.shape[-1]), scores=scores)

    @abstractmethod
    def _learn(self, healthy: Tensor) -> None:
        """Take in the next images of B."""

    @abstractmethod
    def _close(self) -> None:
        """Learn what takes all images."""

    @abstractmethod
    def _compare(self, features: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Maps (N, S, S) of the backbone's input, and image scores, from the backbone's stages."""

    def _smooth(self, distances: Tensor) -> Tensor:
        """Distances (N, h, w) on the features' grid to smooth maps (N, S, S) of the input."""
        side = self.backbone.input_size
        maps = functional.interpolate(distances[:, None], (side, side), mode="bilinear")
        return gaussian_smooth(maps[:, 0], SMOOTHING)


def moved(images: Tensor, step: int) -> Tensor:
    """Images (N, C, H, W) moved down and to the right by ``step`` pixels, their edges repeated."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (step, 0, step, 0), mode="replicate")
    return padded[..., :height, :width]


def _resized(maps: Tensor, side: int) -> Tensor:
    """Maps (N, S, S) at an image's size, (N, side, side)."""
    if maps.shape[-1] == side:
        return maps
    maps = functional.interpolate(maps[:, None], (side, side), mode="bilinear", antialias=True)
    return maps[:, 0].clamp_min(0)
