"""A frozen timm network as a source of features at chosen strides."""

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.errors import InputError


class Backbone(nn.Module):
    """Feature maps of a timm network at some strides, for images of this package's range.

    One channel is repeated to three; images in [-1, 1] are brought to the mean and standard
    deviation that the network was trained with. Batch norm always uses its running statistics.
    Weights are random until `load`.

    Args:
        name: of a timm model with ``features_only``, such as "resnet18" or "resnet18.tv_in1k".
        strides: of the stages whose output is wanted; 4, 8 and 16 are ``layer1`` to ``layer3`` of a
            ResNet.
        input_size: side in pixels that images are resized to first.

    Attributes:
        channels: of the feature maps, in the order of the strides.
        repository: of the pretrained weights on Hugging Face, or None where timm knows none.

    Raises InputError where timm has no such model or the model no such stages at that size.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, strides: Sequence[int], input_size: int) -> None:
        super().__init__()
        self.name = name
        self.input_size = input_size
        try:
            # Without memory: which stages there are, and that they take images of this size.
            with torch.device("meta"):
                whole: Any = timm.create_model(name, features_only=True).eval()
                whole(torch.zeros(1, 3, input_size, input_size))
            reductions = list(whole.feature_info.reduction())
            indices = tuple(reductions.index(stride) for stride in strides)
            features: Any = timm.create_model(name, features_only=True, out_indices=indices)
        except (RuntimeError, ValueError, AssertionError, AttributeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"method.backbone={name}: timm gives no features at strides "
                f"{', '.join(map(str, strides))} of {input_size} x {input_size} pixels ({reason}); "
                "a ResNet such as resnet18 does"
            ) from None
        self.features = features
        for norm in features.modules():
            # Residual branches start at zero in timm: untrained features would be without them.
            if isinstance(norm, nn.BatchNorm2d) and not norm.weight.any():
                nn.init.ones_(norm.weight)
        self.channels: tuple[int, ...] = tuple(features.feature_info.channels())
        known = features.pretrained_cfg
        self.repository: str | None = known.get("hf_hub_id")
        for key in ("mean", "std"):
            value = torch.tensor(known[key]).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode: what is frozen does not follow batches."""
        return super().train(False)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take a classifier's weights, by timm's names. Raises RuntimeError unless they all fit."""
        overlay = {"state_dict": dict(weights)}
        # The whole classifier first: timm forgives a feature network that finds no weights at all.
        timm.create_model(self.name, pretrained=True, pretrained_cfg_overlay=overlay)
        overlay = {"state_dict": dict(weights)}
        indices = self.features.feature_info.out_indices
        loaded = timm.create_model(
            self.name,
            pretrained=True,
            pretrained_cfg_overlay=overlay,
            features_only=True,
            out_indices=indices,
        )
        self.features.load_state_dict(loaded.state_dict())

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps (N, channels, h, w), one for each stride, of images (N, 1 or 3, H, W).

        Images are in [-1, 1]. Maps have the images' precision, under autocast too.
        """
        side = self.input_size
        if x.shape[-2:] != (side, side):
            x = functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
        x = ((x + 1) / 2 - self.mean) / self.std
        return [found.to(x.dtype) for found in self.features(x)]


def on_the_first_grid(features: Sequence[Tensor], mode: str) -> Tensor:
    """Feature maps of several stages, each resized to the first's grid, as channels of one.

    mode: of `torch.nn.functional.interpolate`, "nearest" or "bilinear".
    """
    first, *others = features
    grid = first.shape[-2:]
    return torch.cat([first, *(functional.interpolate(f, grid, mode=mode) for f in others)], 1)
