"""A frozen backbone's features of places, relative to the whole of their image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from a2bgan.models.backbone import Backbone

LEAST_SPREAD = 1e-3
"""Added to a channel's spread, so that a channel that never changes does not divide by zero."""


class RelativeFeatures(nn.Module):
    """Feature maps less their mean over the image, divided by each channel's spread.

    What is the same all over an image (exposure, scanner, patient) drops out, so that a critic of
    these features sees places that differ from the rest of their image, and nothing else.

    Args:
        backbone: gives the features; frozen.
    """

    batches: Tensor

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.register_buffer("batches", torch.zeros(()))
        for number, channels in enumerate(backbone.channels):
            self.register_buffer(f"mean_square_{number}", torch.ones(channels, 1, 1))

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of the maps that `forward` gives."""
        return self.backbone.channels

    @torch.no_grad()
    def refer_to(
        self, features: list[Tensor], everywhere: Callable[[Tensor], Tensor] = Tensor.clone
    ) -> None:
        """Take what `centred` gives of a batch into the spread that features are divided by.

        ``everywhere`` gives the mean of a tensor over all processes that train together.
        """
        self.batches += 1
        for number, maps in enumerate(features):
            known = getattr(self, f"mean_square_{number}")
            found = everywhere(maps.to(known.dtype).square().mean(dim=(0, 2, 3)))
            known.lerp_(found[:, None, None], 1 / self.batches)

    def centred(self, x: Tensor) -> list[Tensor]:
        """Features (N, channels, h, w) of images (N, C, H, W), less their mean over each image."""
        return [maps - maps.mean(dim=(2, 3), keepdim=True) for maps in self.backbone(x)]

    def scaled(self, features: list[Tensor]) -> list[Tensor]:
        """What `centred` gives, divided by each channel's spread."""
        spreads = (
            getattr(self, f"mean_square_{n}").sqrt() + LEAST_SPREAD for n in range(len(features))
        )
        return [maps / spread for maps, spread in zip(features, spreads, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """One map (N, channels, h, w) for each stride, of images (N, C, H, W) in [-1, 1]."""
        return self.scaled(self.centred(x))
