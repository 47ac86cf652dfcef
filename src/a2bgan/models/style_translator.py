"""Translators with a style, and discriminators at several scales: MUNIT's, as Council GAN and
ACL-GAN changed them.

The content of an image is what a convolutional encoder keeps of it; a style is a vector, noise or
what a second encoder makes of an image, that becomes the scales and shifts of the decoder's
adaptive instance norms.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.models.blend import healthy_translation

Decoder = Literal["council", "acl"]
Padding = Literal["zeros", "reflect"]
Norm = Literal["none", "instance", "adaptive", "layer"]


class StyledTranslation(NamedTuple):
    """A batch decoded with one style.

    healthy: (N, C, H, W), the translation x'. intermediate: (N, C, H, W), the last image that was
    blended into the input. masks: (N, K, H, W) in [0, 1], one for each that was.
    """

    healthy: Tensor
    intermediate: Tensor
    masks: Tensor


class Convolution(nn.Module):
    """Convolution with bias, a norm and an activation; adaptive norms are given their numbers."""

    def __init__(
        self,
        cin: int,
        cout: int,
        kernel: int,
        stride: int,
        norm: Norm,
        activation: nn.Module,
        padding: Padding,
    ) -> None:
        super().__init__()
        pad = (kernel - stride + 1) // 2
        self.convolution = nn.Conv2d(cin, cout, kernel, stride, pad, padding_mode=padding)
        self.activation = activation
        self.instance = norm in ("instance", "adaptive")
        self.adaptive = 2 * cout if norm == "adaptive" else 0
        self.layer = nn.GroupNorm(1, cout) if norm == "layer" else None
        if self.layer is not None:
            nn.init.uniform_(self.layer.weight)

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        """style: (N, 2 C), shifts and then scales, for an adaptive norm."""
        x = self.convolution(x)
        if self.instance:
            x = F.instance_norm(x)
        if style is not None:
            shift, scale = style[:, :, None, None].chunk(2, dim=1)
            x = x * scale + shift
        if self.layer is not None:
            x = self.layer(x)
        return self.activation(x)  # type: ignore[no-any-return]


class ResidualPair(nn.Module):
    """Two 3x3 convolutions added to their input."""

    def __init__(self, channels: int, norm: Norm, padding: Padding) -> None:
        super().__init__()
        self.first = Convolution(channels, channels, 3, 1, norm, nn.ReLU(inplace=True), padding)
        self.second = Convolution(channels, channels, 3, 1, norm, nn.Identity(), padding)
        self.adaptive = self.first.adaptive + self.second.adaptive

    def forward(self, x: Tensor, style: Tensor | None = None) -> Tensor:
        one, two = (None, None) if style is None else style.chunk(2, dim=1)
        return x + self.second(self.first(x, one), two)  # type: ignore[no-any-return]


class StyleTranslator(nn.Module):
    """Content encoder, decoder driven by a style, and what makes styles of images.

    Args:
        channels: of the image, 1 or 3.
        width: channels after the stem; four times as many in the middle.
        blocks: residual blocks of the encoder and of the decoder, each.
        style: numbers in a style.
        hidden: width of the perceptron between style and adaptive norms.
        decoder: ``council``: nearest-neighbour upsampling, each with two 3x3 convolutions under
            adaptive norms, three 1x1 convolutions, and three images blended in one after the
            other; ``acl``: one 5x5 convolution under layer norm each, a 7x7 head, and one image.
        padding: of the convolutions.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        blocks: int,
        style: int,
        hidden: int,
        decoder: Decoder,
        padding: Padding,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.decoder = decoder
        self.images = 3 if decoder == "council" else 1
        relu = nn.ReLU(inplace=True)

        def convolution(
            cin: int, cout: int, kernel: int, stride: int, norm: Norm, last: nn.Module = relu
        ) -> Convolution:
            return Convolution(cin, cout, kernel, stride, norm, last, padding)

        middle = 4 * width
        self.content = nn.Sequential(
            convolution(channels, width, 7, 1, "instance"),
            convolution(width, 2 * width, 4, 2, "instance"),
            convolution(2 * width, middle, 4, 2, "instance"),
            *[ResidualPair(middle, "instance", padding) for _ in range(blocks)],
        )
        self.own_style = nn.Sequential(
            convolution(channels, width, 7, 1, "none"),
            convolution(width, 2 * width, 4, 2, "none"),
            convolution(2 * width, middle, 4, 2, "none"),
            convolution(middle, middle, 4, 2, "none"),
            convolution(middle, middle, 4, 2, "none"),
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(middle, style, 1),
            nn.Flatten(),
        )
        layers: list[nn.Module] = [ResidualPair(middle, "adaptive", padding) for _ in range(blocks)]
        out = (channels + 1) * self.images
        for cin, cout in ((middle, 2 * width), (2 * width, width)):
            layers.append(nn.Upsample(scale_factor=2))
            if decoder == "council":
                layers.append(convolution(cin, cout, 3, 1, "adaptive"))
                layers.append(convolution(cout, cout, 3, 1, "adaptive"))
            else:
                layers.append(convolution(cin, cout, 5, 1, "layer"))
        if decoder == "council":
            layers += [convolution(width, width, 1, 1, "none") for _ in range(2)]
        head = 1 if decoder == "council" else 7
        layers.append(convolution(width, out, head, 1, "none", nn.Identity()))
        self.layers = nn.ModuleList(layers)
        self.adaptive = [int(getattr(layer, "adaptive", 0)) for layer in layers]
        self.perceptron = nn.Sequential(
            nn.Linear(style, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, sum(self.adaptive)),
        )
        self.fixed: Tensor
        self.register_buffer("fixed", torch.randn(1, style))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor, styles: Sequence[Tensor | None]) -> list[StyledTranslation]:
        """Images (N, C, H, W) in [-1, 1] in several styles (N, S); H and W multiples of 4.

        None is the image's own style.
        """
        content = self.content(x)
        return [
            self._decode(x, content, self.own_style(x) if style is None else style)
            for style in styles
        ]

    def in_fixed_style(self, x: Tensor) -> StyledTranslation:
        """Translate all images in one style, drawn at the start, as is done to find anomalies."""
        (found,) = self.forward(x, [self.fixed.expand(len(x), -1)])
        return found

    def _decode(self, x: Tensor, content: Tensor, style: Tensor) -> StyledTranslation:
        numbers = self.perceptron(style).split(self.adaptive, dim=1)
        for layer, own in zip(self.layers, numbers, strict=True):
            content = layer(content, own) if own.shape[1] else layer(content)
        # In bfloat16 tanh is flat but for its middle: most of a mask would have no gradient.
        content = torch.tanh(content.to(torch.promote_types(content.dtype, torch.float32)))
        images, masks = content[:, : -self.images], content[:, -self.images :]
        masks = (torch.tanh(10 * masks) + 1) / 2 if self.decoder == "council" else (masks + 1) / 2
        healthy = x
        for k, image in enumerate(images.chunk(self.images, dim=1)):
            healthy = healthy_translation(healthy, image, masks[:, k : k + 1])
        return StyledTranslation(healthy, image, masks)


class MultiScaleDiscriminator(nn.Module):
    """Patch discriminators on the image and on its halves: 4x4 stride-2 convolutions doubling the
    width, LeakyReLU(0.2), then 1x1 to one.

    Args:
        channels: of the input; a pair of images is one input with the channels of both.
        width, depth: channels after the first of ``depth`` convolutions.
        scales: patch discriminators.
        council: Council GAN's second kind: the first convolution is 3x3 and keeps the size, and
            there is one more 1x1 before the last.
        padding: of the convolutions.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        scales: int,
        padding: Padding,
        council: bool = False,
    ) -> None:
        super().__init__()
        self.scales = nn.ModuleList()
        for _ in range(scales):
            layers: list[nn.Module] = []
            cin = channels
            for i in range(depth):
                kernel, stride = (3, 1) if council and i == 0 else (4, 2)
                activation = nn.LeakyReLU(0.2, inplace=True)
                cout = width * 2**i
                layers.append(Convolution(cin, cout, kernel, stride, "none", activation, padding))
                cin = cout
            layers += [nn.Conv2d(cin, cin, 1)] if council else []
            self.scales.append(nn.Sequential(*layers, nn.Conv2d(cin, 1, 1)))
        self.halve = nn.AvgPool2d(3, 2, 1, count_include_pad=False)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0.0, 0.02)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> list[Tensor]:
        """(N, C, H, W) to one grid of patches (N, 1, h, w) for each scale; 1 means real."""
        found = []
        for k, scale in enumerate(self.scales):
            x = self.halve(x) if k else x
            found.append(scale(x))
        return found
