"""Evidence that an image is of A and not of B, linear in a frozen backbone's features."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.models.backbone import Backbone

STRIDES = (8, 16, 32)
"""Strides of the backbone's stages that are looked at; the second has the grid of places."""

PLACES = 0.05
"""The focal score is the mean over this share of an image's places, the most suspicious ones."""

LIMIT = 6.0
"""Features are cut at so many standard deviations."""

LEAST_SPREAD = 1e-4
"""Added to standard deviations, so that a channel that never changes does not divide by zero."""


def evidence_size(size: int) -> int:
    """The side, in pixels, to which images of ``size`` pixels a side are best resized: twice the
    side, but at least 128 and at most 256, near the size that ImageNet's features were learned at.
    """
    return min(256, max(128, 2 * size))


class Evidence(nn.Module):
    """Two linear models of A against B: one of places, one of whole images.

    The *focal* model sees at every place the features less their mean over the image. What is the
    same all over an image (exposure, scanner, patient) drops out; what is left is a place that
    differs from the rest of its image. The *diffuse* model sees the mean and the standard deviation
    of each channel over the image, which is what the focal one does not see. The score of an image
    adds up both, each as far as cross-validation on A and B found it to tell them apart
    (`a2bgan.training.evidence_fit`).

    Linear, because sets of a few hundred images do not carry more.

    Args:
        backbone: gives the features; frozen.

    Attributes (buffers):
        weights: (2,) of the focal and the diffuse score in the image score.
        reliability: (2,) cross-validated AUROC of each, A against B.
        error: () standard error of such an AUROC where there is nothing to tell.
    """

    focal_spread: Tensor
    focal_weight: Tensor
    focal_bias: Tensor
    diffuse_mean: Tensor
    diffuse_spread: Tensor
    diffuse_weight: Tensor
    diffuse_bias: Tensor
    score_mean: Tensor
    score_spread: Tensor
    weights: Tensor
    reliability: Tensor
    error: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        count = sum(backbone.channels)
        self.register_buffer("focal_spread", torch.ones(count))
        self.register_buffer("focal_weight", torch.zeros(count))
        self.register_buffer("focal_bias", torch.zeros(()))
        self.register_buffer("diffuse_mean", torch.zeros(2 * count))
        self.register_buffer("diffuse_spread", torch.ones(2 * count))
        self.register_buffer("diffuse_weight", torch.zeros(2 * count))
        self.register_buffer("diffuse_bias", torch.zeros(()))
        self.register_buffer("score_mean", torch.zeros(2))
        self.register_buffer("score_spread", torch.ones(2))
        self.register_buffer("weights", torch.tensor([1.0, 0.0]))
        self.register_buffer("reliability", torch.full((2,), 0.5))
        self.register_buffer("error", torch.zeros(()))

    @property
    def trust(self) -> Tensor:
        """Trust in the score, a scalar in [0, 1]: the number of standard errors, less one, by which
        the more reliable model's AUROC exceeds 0.5."""
        excess = (self.reliability.max() - 0.5) / self.error.clamp_min(LEAST_SPREAD)
        return (excess - 1).clamp(0, 1)

    @property
    def summary(self) -> str:
        """Sentence on how well each model separated A from B on patients left out of its fit."""
        (focal, diffuse), error = self.reliability.tolist(), float(self.error)
        return (
            "mixed against healthy images of left-out patients: AUROC "
            f"{focal:.2f} by places, {diffuse:.2f} by whole images (chance: 0.50 +- {error:.2f})"
        )

    @property
    def no_better_than_chance(self) -> bool:
        """True where neither model's AUROC is a standard error above 0.5: neither counts."""
        return float(self.reliability.max() - 0.5) <= float(self.error)

    def forward(self, x: Tensor) -> "EvidenceOutput":
        """Evidence in images (N, C, H, W) in [-1, 1]; autocast reaches the backbone alone."""
        features, kind = on_one_grid(self.backbone(x)), x.device.type
        halved = torch.is_autocast_enabled(kind)  # else nothing, which exports need not know of
        with torch.autocast(kind, enabled=False) if halved else nullcontext():
            return self._weigh(features.float())

    def _weigh(self, features: Tensor) -> "EvidenceOutput":
        relative, overall = split(features)
        places = standardised(relative, self.focal_spread[:, None, None])
        odds = torch.einsum("nchw,c->nhw", places, self.focal_weight) + self.focal_bias
        whole = standardised(overall - self.diffuse_mean, self.diffuse_spread)
        scores = torch.stack([focal_score(odds), whole @ self.diffuse_weight + self.diffuse_bias])
        standard = (scores - self.score_mean[:, None]) / self.score_spread[:, None]
        return EvidenceOutput(odds, scores[0], scores[1], (self.weights[:, None] * standard).sum(0))


class EvidenceOutput(NamedTuple):
    """Evidence in n images, high for A.

    odds: (n, h, w), log odds of places by the focal model; focal, diffuse: (n,), the scores of the
    two models; score: (n,), both together.
    """

    odds: Tensor
    focal: Tensor
    diffuse: Tensor
    score: Tensor


def on_one_grid(features: Sequence[Tensor]) -> Tensor:
    """Maps of several strides (N, channels, h, w) as the channels of one, on the second's grid."""
    height, width = features[min(1, len(features) - 1)].shape[-2:]
    grid = (height, width)
    maps = [
        functional.adaptive_avg_pool2d(f, grid)
        if f.shape[-1] > width
        else functional.interpolate(f, grid, mode="bilinear")
        for f in features
    ]
    return torch.cat(maps, 1)


def split(features: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, C, h, w) less their image's mean, and its means and deviations (N, 2C)."""
    mean = features.mean(dim=(2, 3), keepdim=True)
    relative = features - mean
    deviation = relative.square().mean(dim=(2, 3)).sqrt()
    return relative, torch.cat([mean[:, :, 0, 0], deviation], 1)


def standardised(values: Tensor, spread: Tensor) -> Tensor:
    """Values divided by their spread, cut at `LIMIT`."""
    return (values / spread).clamp(-LIMIT, LIMIT)


def focal_score(odds: Tensor) -> Tensor:
    """Mean (N,) over the most suspicious `PLACES` of log odds (N, h, w)."""
    places = odds.flatten(1)
    return places.topk(max(1, round(PLACES * places.shape[1])), dim=1).values.mean(1)


def over_pixels(odds: Tensor, size: Sequence[int]) -> Tensor:
    """Log odds of places (N, h, w) at an image's pixels (N, H, W), bilinear."""
    return functional.interpolate(odds[:, None], tuple(size), mode="bilinear")[:, 0]
