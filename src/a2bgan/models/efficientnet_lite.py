"""EfficientNet-Lite0 without timm, whose import takes longer than PyTorch's own.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019;
Lite0 leaves out squeeze-and-excitation and bounds activations at 6. Names of parameters, the first
random weights and all features are those of timm's ``tf_efficientnet_lite0`` with
``features_only``.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

NAMES = ("tf_efficientnet_lite0", "tf_efficientnet_lite0.in1k")
"""timm's names of this network."""

REPOSITORY = "timm/tf_efficientnet_lite0.in1k"
"""Repository of its weights on Hugging Face."""

MEAN = STD = (0.5, 0.5, 0.5)
"""Mean and deviation of the images in [0, 1] that its weights were learned from."""

STAGES = ((0, 2, 16), (1, 4, 24), (2, 8, 40), (4, 16, 112), (6, 32, 320))
"""The last stage of blocks at each stride, that stride, and the channels there."""

_BLOCKS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Blocks, kernel, stride of the first block, expansion and channels of each stage."""

_HEAD = {
    "conv_head.weight": torch.Size((1280, 320, 1, 1)),
    "bn2.weight": torch.Size((1280,)),
    "bn2.bias": torch.Size((1280,)),
    "bn2.running_mean": torch.Size((1280,)),
    "bn2.running_var": torch.Size((1280,)),
    "bn2.num_batches_tracked": torch.Size(()),
    "classifier.weight": torch.Size((1000, 1280)),
    "classifier.bias": torch.Size((1000,)),
}
"""Shapes of what the classifier has beyond its features."""


class EfficientNetLite0(nn.Module):
    """Feature maps at some strides.

    indices: of the wanted rows of `STAGES`.
    """

    def __init__(self, indices: Sequence[int]) -> None:
        super().__init__()
        self.wanted = {STAGES[index][0] for index in indices}
        self.conv_stem = _Conv(3, 32, 3, stride=2)
        self.bn1 = _norm(32)
        for _ in range(2):
            nn.Conv2d(8, 8, 1)  # timm tries out a layer here: the same random numbers come next
        stages, width = [], 32
        for count, kernel, stride, expansion, channels in _BLOCKS:
            blocks = list[nn.Module]()
            for number in range(count):
                step = 1 if number else stride
                if expansion == 1:
                    blocks.append(_Separable(width, channels, kernel))
                else:
                    blocks.append(_Inverted(width, channels, kernel, step, expansion))
                width = channels
            stages.append(nn.Sequential(*blocks))
        self.blocks = nn.Sequential(*stages)
        for layer in self.modules():
            if isinstance(layer, _Conv):
                fan_out = layer.kernel_size[0] ** 2 * layer.out_channels // layer.groups
                nn.init.normal_(layer.weight, 0, (2 / fan_out) ** 0.5)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Maps (N, channels, h, w) in the order of `STAGES`, of normalised images (N, 3, H, W)."""
        x = functional.relu6(self.bn1(self.conv_stem(x)), inplace=True)
        maps = []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in self.wanted:
                maps.append(x)
        return maps

    def classifier_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the whole classifier's tensors by name, in timm's order."""
        return {name: tensor.shape for name, tensor in self.state_dict().items()} | _HEAD

    def load_classifier(self, weights: dict[str, Tensor]) -> None:
        """Take a classifier's weights. Raises RuntimeError unless all of its tensors are there."""
        expected = self.classifier_shapes()
        for name in expected.keys() | weights.keys():
            if name not in weights or expected.get(name) != weights[name].shape:
                raise RuntimeError(f"{name}: missing, or of another network")
        self.load_state_dict({name: weights[name] for name in self.state_dict()})


class _Conv(nn.Conv2d):
    """Convolution without bias whose result has ``ceil(H / stride)`` rows, as TensorFlow's SAME:
    where padding is uneven, there is more of it at the end."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int = 1, groups: int = 1):
        even = kernel // 2 if stride == 1 else 0
        super().__init__(width, channels, kernel, stride, even, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.stride[0] > 1:
            (top, bottom), (left, right) = map(self._margins, x.shape[-2:])
            x = functional.pad(x, (left, right, top, bottom))
        return super().forward(x)

    def _margins(self, length: int) -> tuple[int, int]:
        step = self.stride[0]
        missing = max((-(-length // step) - 1) * step + self.kernel_size[0] - length, 0)
        return missing // 2, missing - missing // 2


class _Separable(nn.Module):
    """Depthwise and pointwise convolution."""

    def __init__(self, width: int, channels: int, kernel: int) -> None:
        super().__init__()
        self.conv_dw = _Conv(width, width, kernel, groups=width)
        self.bn1 = _norm(width)
        self.conv_pw = _Conv(width, channels, 1)
        self.bn2 = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu6(self.bn1(self.conv_dw(x)), inplace=True)
        narrow: Tensor = self.bn2(self.conv_pw(x))
        return narrow


class _Inverted(nn.Module):
    """Inverted residual: to more channels, a depthwise convolution, and to few again."""

    def __init__(self, width: int, channels: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = width * expansion
        self.residual = stride == 1 and width == channels
        self.conv_pw = _Conv(width, wide, 1)
        self.bn1 = _norm(wide)
        self.conv_dw = _Conv(wide, wide, kernel, stride, groups=wide)
        self.bn2 = _norm(wide)
        self.conv_pwl = _Conv(wide, channels, 1)
        self.bn3 = _norm(channels)

    def forward(self, x: Tensor) -> Tensor:
        wide = functional.relu6(self.bn1(self.conv_pw(x)), inplace=True)
        wide = functional.relu6(self.bn2(self.conv_dw(wide)), inplace=True)
        narrow: Tensor = self.bn3(self.conv_pwl(wide))
        return narrow + x if self.residual else narrow


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)
