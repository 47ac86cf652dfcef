"""The translator G: any image to its healthy twin, with the mask of what it changed."""

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.models.blend import healthy_translation
from a2bgan.models.instance_norm import InstanceNorm2d

Upsampling = Literal["transposed", "bilinear"]
Intermediate = Literal["tanh", "residual", "additive"]
Mask = Literal["learned", "none"]


class Translation(NamedTuple):
    """Output of the translator for a batch.

    healthy: (N, C, H, W), the healthy twin x' (eq. 1).
    intermediate: (N, C, H, W), b, the image before the mask.
    mask: (N, 1, H, W) in [0, 1], where b replaces the input.
    """

    healthy: Tensor
    intermediate: Tensor
    mask: Tensor


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with instance norm, added to their input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            *_convolution(channels, channels, kernel=3, stride=1, padding=1),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            InstanceNorm2d(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)  # type: ignore[no-any-return]


class Translator(nn.Module):
    """Encoder, residual blocks, decoder; the paper's G with ``width=64, blocks=6``.

    7x7 stem, two 4x4 stride-2 convolutions that double the width, residual blocks, two
    upsamplings that halve it, a 7x7 head with one output per image channel and one for the
    mask. Instance norm with affine parameters, ReLU. About 8.4 million parameters at width 64.

    Args:
        channels: of the image, 1 or 3.
        width: channels after the stem; four times as many in the middle.
        blocks: residual blocks in the middle.
        upsampling: ``transposed`` (4x4 stride-2, the paper's) or ``bilinear`` followed by a 3x3
            convolution, which leaves no checkerboard in the difference maps.
        intermediate: ``tanh`` (the paper's b = tanh(.)), ``residual`` (b = x + delta with delta
            zero at the start, so that the first translations are the inputs themselves) or
            ``additive`` (Brainomaly's b = tanh(x + delta)).
        mask: ``learned`` (the paper's) or ``none`` (m = 1 everywhere, so x' = b).
        mask_start: mask value at the start of training, in (0, 1); None keeps the head's random
            initialisation, which is the paper's.
        coarsening: side in pixels of the squares that are averaged before the first convolution.
            Intermediate image and mask are then upsampled bilinearly, so that a residual
            intermediate image keeps the input's details. 1 is the paper's; 2 takes a quarter of
            the time.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 64,
        blocks: int = 6,
        upsampling: Upsampling = "transposed",
        intermediate: Intermediate = "tanh",
        mask: Mask = "learned",
        mask_start: float | None = None,
        coarsening: int = 1,
    ) -> None:
        super().__init__()
        up = _transposed_up if upsampling == "transposed" else _bilinear_up
        self.channels = channels
        self.coarsening = coarsening
        self.intermediate = intermediate
        self.mask = mask
        self.body = nn.Sequential(
            *_convolution(channels, width, kernel=7, stride=1, padding=3),
            *_convolution(width, 2 * width, kernel=4, stride=2, padding=1),
            *_convolution(2 * width, 4 * width, kernel=4, stride=2, padding=1),
            *[ResidualBlock(4 * width) for _ in range(blocks)],
            *up(4 * width, 2 * width),
            *up(2 * width, width),
        )
        biased = intermediate == "residual" or (mask == "learned" and mask_start is not None)
        self.head = nn.Conv2d(width, channels + (mask == "learned"), 7, 1, 3, bias=biased)
        self._initialise_head(mask_start)

    @torch.no_grad()
    def _initialise_head(self, mask_start: float | None) -> None:
        if self.head.bias is None:
            return
        nn.init.zeros_(self.head.bias)
        if self.intermediate == "residual":
            nn.init.zeros_(self.head.weight[: self.channels])
        if mask_start is not None and self.mask == "learned":
            nn.init.normal_(self.head.weight[self.channels :], 0.0, 0.01)
            # m = (tanh(z) + 1) / 2 = sigmoid(2 z), hence half the logit.
            self.head.bias[self.channels :] = torch.logit(torch.tensor(mask_start)) / 2

    def forward(self, x: Tensor) -> Translation:
        """Translate ``x`` (N, C, H, W) in [-1, 1]; H and W multiples of 4 times ``coarsening``."""
        k = self.coarsening
        out = self.head(self.body(functional.avg_pool2d(x, k) if k > 1 else x))
        if k > 1:
            out = functional.interpolate(out, scale_factor=float(k), mode="bilinear")
        image, z = out[:, : self.channels], out[:, self.channels :]
        b = image if self.intermediate == "tanh" else x + image
        if self.intermediate != "residual":
            b = torch.tanh(b)
        if self.mask == "none":
            return Translation(b, b, torch.ones_like(x[:, :1]))
        # In half precision m and 1 - m do not add up to 1, and a shut mask would change the image.
        m = (torch.tanh(z.to(x.dtype)) + 1) / 2
        return Translation(healthy_translation(x, b, m), b, m)


def _convolution(cin: int, cout: int, kernel: int, stride: int, padding: int) -> list[nn.Module]:
    return [
        nn.Conv2d(cin, cout, kernel, stride, padding, bias=False),
        InstanceNorm2d(cout),
        nn.ReLU(inplace=True),
    ]


def _transposed_up(cin: int, cout: int) -> list[nn.Module]:
    return [
        nn.ConvTranspose2d(cin, cout, 4, 2, 1, bias=False),
        InstanceNorm2d(cout),
        nn.ReLU(inplace=True),
    ]


def _bilinear_up(cin: int, cout: int) -> list[nn.Module]:
    return [
        nn.Upsample(scale_factor=2, mode="bilinear"),
        *_convolution(cin, cout, kernel=3, stride=1, padding=1),
    ]
