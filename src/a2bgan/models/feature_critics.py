"""Networks that judge places of an image by a frozen backbone's features."""

from collections.abc import Sequence

from torch import Tensor, nn

SLOPE = 0.2
"""Of the critics' LeakyReLU."""


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
