"""A discriminator of a frozen backbone's features, relative to the whole of their image."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from a2bgan.models.backbone import Backbone

LEAST_SPREAD = 1e-3
"""Added to a channel's spread, so that a channel that never changes does not divide by zero."""

SLOPE = 0.2
"""Slope of the critics' LeakyReLU for negative values."""


class RelativeFeatures(nn.Module):
    """Feature maps less their mean over the image, divided by each channel's spread.

    What is the same all over an image (exposure, scanner, patient) drops out, so that a critic of
    these features sees places that differ from the rest of their image, and nothing else.

    Args:
        backbone: gives the features; frozen.
    """

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        for number, channels in enumerate(backbone.channels):
            self.register_buffer(f"spread_{number}", torch.ones(channels, 1, 1))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the maps that `forward` gives."""
        return self.backbone.channels

    @torch.no_grad()
    def set_spreads(self, features: Sequence[Tensor]) -> None:
        """Take the spreads from a backbone's features of many images (N, channels, h, w)."""
        for number, maps in enumerate(features):
            spread = _centred(maps).square().mean(dim=(0, 2, 3)).sqrt()
            getattr(self, f"spread_{number}").copy_(spread[:, None, None] + LEAST_SPREAD)

    def relative(self, features: Sequence[Tensor]) -> list[Tensor]:
        """A backbone's features (N, channels, h, w), of each stride, in relation to their image."""
        return [
            _centred(maps) / getattr(self, f"spread_{number}")
            for number, maps in enumerate(features)
        ]

    def forward(self, x: Tensor) -> list[Tensor]:
        """One map (N, channels, h, w) for each stride, of images (N, C, H, W) in [-1, 1]."""
        return self.relative(self.backbone(x))


class FeatureCritics(nn.Module):
    """A small critic for each stride of the features (Sauer et al., "Projected GANs", 2021).

    A 1x1 convolution, a 3x3 convolution and a 1x1 head, so that every place has an output of its
    own.

    Args:
        channels: of the feature maps.
        width: channels of the convolutions.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.critics = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(count, width, 1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(width, width, 3, 1, 1),
                nn.LeakyReLU(SLOPE),
                nn.Conv2d(width, 1, 1),
            )
            for count in channels
        )

    def forward(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Outputs (N, 1, h, w) for each feature map (N, channels, h, w); high: healthy and real."""
        return [critic(maps) for critic, maps in zip(self.critics, features, strict=True)]


def _centred(maps: Tensor) -> Tensor:
    return maps - maps.mean(dim=(2, 3), keepdim=True)
