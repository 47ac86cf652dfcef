"""A frozen timm network as a source of features."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.errors import InputError
from a2bgan.models import efficientnet_lite
from a2bgan.models.efficientnet_lite import EfficientNetLite0


class Backbone(nn.Module):
    """Feature maps of a timm network at some strides, for images of this package's range.

    One channel is repeated to three; images in [-1, 1] are brought to the mean and standard
    deviation that the network was trained with. Batch norm always uses its running statistics.
    Weights are random until `load`.

    All blocks of a vision transformer have one stride, that of its patches. It gives as many maps
    as there are strides, of blocks at equal distances that end with the last (of 12 the 4th, 8th
    and 12th for three), each after the network's last norm, as DINOv2 gives them.

    Args:
        name: of a timm model with ``features_only``, such as "tf_efficientnet_lite0",
            "resnet18.tv_in1k" or "vit_small_patch14_dinov2".
        strides: of the stages whose output is wanted; 4, 8 and 16 are ``layer1`` to ``layer3`` of a
            ResNet.
        input_size: side in pixels that images are resized to first.

    Attributes:
        shapes: (channels, h, w) of the feature maps, in the order of the strides.
        channels: of the feature maps, in the same order.
        strides: of the feature maps; not those asked for where all the network's are equal.
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
            known = _known(name)
            self._options: dict[str, Any] = {}
            if known.fixed_input_size:
                self._options["img_size"] = input_size
            stages = _stages(name, input_size, **self._options)
            reductions = [stage.reduction for stage in stages]
            self._isotropic = len(reductions) > 1 and len(set(reductions)) == 1
            self._indices = (
                _spread(len(reductions), len(strides))
                if self._isotropic
                else tuple(reductions.index(stride) for stride in strides)
            )
            features = self._build()
        except (RuntimeError, ValueError, AssertionError, AttributeError, TypeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"method.backbone={name}: timm gives no features at strides "
                f"{', '.join(map(str, strides))} of {input_size} x {input_size} pixels ({reason}); "
                "tf_efficientnet_lite0 does"
            ) from None
        self.strides: tuple[int, ...] = tuple(reductions[i] for i in self._indices)
        if self._isotropic and input_size % self.strides[0]:
            patch = self.strides[0]
            raise InputError(
                f"method.backbone={name}: {input_size} pixels are no multiple of its patches' "
                f"{patch}; method.input_size={max(1, round(input_size / patch)) * patch}"
            )
        # Twice as fast on CPUs.
        self.features: nn.Module = features.to(memory_format=torch.channels_last)
        for norm in features.modules():
            # Residual branches start at zero in timm: untrained features would be without them.
            if isinstance(norm, nn.BatchNorm2d) and not norm.weight.any():
                nn.init.ones_(norm.weight)
        taken = [stages[i] for i in self._indices]
        self._channels_last = taken[0].channels_last
        self.shapes: tuple[tuple[int, ...], ...] = tuple(stage.shape for stage in taken)
        self.channels: tuple[int, ...] = tuple(shape[0] for shape in self.shapes)
        self.repository: str | None = known.repository
        for key, values in (("mean", known.mean), ("std", known.std)):
            value = torch.tensor(values).view(1, 3, 1, 1)
            self.register_buffer(key, value, persistent=False)
        self.requires_grad_(False)
        self.train(False)

    def train(self, mode: bool = True) -> "Backbone":
        """Stays in evaluation mode: what is frozen does not follow batches."""
        return super().train(False)

    def load(self, weights: dict[str, Tensor]) -> None:
        """Take a classifier's weights, by timm's names. Raises RuntimeError unless they all fit."""
        if isinstance(self.features, EfficientNetLite0):
            self.features.load_classifier(weights)
            return
        import timm  # takes a while

        # The whole classifier first: timm forgives a feature network that finds no weights at all.
        timm.create_model(self.name, **_pretrained(weights), **self._options)
        with _without_warnings():
            loaded = self._build(**_pretrained(weights))
        self.features.load_state_dict(loaded.state_dict())

    def classifier_shapes(self) -> dict[str, torch.Size]:
        """Shapes of the tensors of the network's whole classifier by name, in timm's order."""
        if isinstance(self.features, EfficientNetLite0):
            return self.features.classifier_shapes()
        import timm  # takes a while

        with torch.device("meta"):
            tensors = timm.create_model(self.name, **self._options).state_dict()
        return {name: tensor.shape for name, tensor in tensors.items()}

    def forward(self, x: Tensor) -> list[Tensor]:
        """Feature maps (N, channels, h, w), one for each stride, of images (N, 1 or 3, H, W).

        Images are in [-1, 1]. Maps have the images' precision, under autocast too.
        """
        side = self.input_size
        if x.shape[-2:] != (side, side):
            x = _resized(x, side)
        x = ((x + 1) / 2 - self.mean) / self.std
        x = x.contiguous(memory_format=torch.channels_last)
        found = self.features(x)
        # timm gives them in the network's order, whatever order they were asked for in.
        places = [sorted(self._indices).index(i) for i in self._indices]
        return [self._ordered(found[place]).to(x.dtype) for place in places]

    def _build(self, **weights: Any) -> nn.Module:
        if self.name in efficientnet_lite.NAMES:
            return EfficientNetLite0(self._indices)
        import timm  # takes a while

        if self._isotropic:
            model = timm.create_model(self.name, **weights, **self._options)
            return _Blocks(model, self._indices)
        network: nn.Module = timm.create_model(
            self.name, features_only=True, out_indices=self._indices, **weights, **self._options
        )
        return network

    def _ordered(self, features: Tensor) -> Tensor:
        return features.permute(0, 3, 1, 2) if self._channels_last else features


@dataclass(frozen=True, slots=True)
class _Known:
    """Facts of a network that its name gives.

    repository: of its weights on Hugging Face; None where there is none.
    mean, std: (3,) of the images in [0, 1] that it was trained with.
    fixed_input_size: it is built for images of one size.
    """

    repository: str | None
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fixed_input_size: bool = False


def _known(name: str) -> _Known:
    if name in efficientnet_lite.NAMES:
        return _Known(efficientnet_lite.REPOSITORY, efficientnet_lite.MEAN, efficientnet_lite.STD)
    import timm  # takes a while

    # Asked first: timm would fetch names such as hf-hub:OWNER/MODEL from the network.
    if not timm.is_model(name):
        raise InputError(
            f"method.backbone={name}: timm has no network of this name; "
            "tf_efficientnet_lite0 or resnet18.tv_in1k are two that it has"
        )
    found: Any = timm.get_pretrained_cfg(name)
    return _Known(found.hf_hub_id, found.mean, found.std, found.fixed_input_size)


@dataclass(frozen=True, slots=True)
class _Stage:
    """One of a network's feature maps: its stride and, for an image, its (channels, h, w).

    channels_last: the network gives (N, h, w, channels), as some transformers (Swin) do.
    """

    reduction: int
    shape: tuple[int, ...]
    channels_last: bool


@cache
def _stages(name: str, input_size: int, **options: Any) -> tuple[_Stage, ...]:
    """All stages of a network, found without memory. Raises where it takes no such images."""
    if name in efficientnet_lite.NAMES:
        return tuple(
            _Stage(stride, (channels, *[-(-input_size // stride)] * 2), False)
            for _, stride, channels in efficientnet_lite.STAGES
        )
    import timm  # takes a while

    with torch.device("meta"):
        few: Any = timm.create_model(name, features_only=True, **options)
        known = few.feature_info.info
        every = tuple(range(len(known)))
        network = timm.create_model(name, features_only=True, out_indices=every, **options).eval()
        maps = network(torch.zeros(1, 3, input_size, input_size))
    stages = []
    for info, found in zip(known, maps, strict=True):
        channels, shape = info["num_chs"], tuple(found.shape[1:])
        last = shape[0] != channels and shape[-1] == channels
        shape = (channels, *shape[:2]) if last else shape
        stages.append(_Stage(info["reduction"], shape, last))
    return tuple(stages)


class _Blocks(nn.Module):
    """The output of some blocks of a vision transformer as maps, each after the last norm."""

    def __init__(self, model: Any, indices: Sequence[int]) -> None:
        super().__init__()
        self.indices = list(indices)
        model.prune_intermediate_layers(self.indices, prune_norm=False, prune_head=True)
        self.model = model

    def forward(self, x: Tensor) -> list[Tensor]:
        maps: list[Tensor] = self.model.forward_intermediates(
            x, indices=self.indices, norm=True, output_fmt="NCHW", intermediates_only=True
        )
        return maps


def _spread(blocks: int, count: int) -> tuple[int, ...]:
    """The numbers, from 0, of ``count`` of the blocks at equal distances that end with the last."""
    if count > blocks:
        raise ValueError(f"it has {blocks} blocks")
    return tuple(round((i + 1) * blocks / count) - 1 for i in range(count))


def _resized(x: Tensor, side: int) -> Tensor:
    """Images (N, C, H, W) at another size, antialiased.

    Exported as two products of matrices, which all runtimes compute alike: OpenVINO leaves out
    ONNX's antialiasing.
    """
    if not torch.compiler.is_exporting():
        return functional.interpolate(x, (side, side), mode="bilinear", antialias=True)
    rows, columns = (_triangles(length, side) for length in x.shape[-2:])
    return rows @ x @ columns.T


def _triangles(before: int, after: int) -> Tensor:
    """(after, before): the weights of antialiased bilinear interpolation along one side."""
    scale = before / after
    centres = (np.arange(after)[:, np.newaxis] + 0.5) * scale
    distance = np.abs(np.arange(before) + 0.5 - centres) / max(scale, 1.0)
    weights = np.clip(1 - distance, 0, None)
    return torch.tensor(weights / weights.sum(1, keepdims=True), dtype=torch.float32)


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Silence timm's warning that features leave a classifier's last layers out."""
    logger = logging.getLogger("timm.models._builder")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _pretrained(weights: dict[str, Tensor]) -> dict[str, Any]:
    """Options with which timm loads weights from memory; it empties its copy of the dictionary."""
    return {"pretrained": True, "pretrained_cfg_overlay": {"state_dict": dict(weights)}}


def on_the_first_grid(features: Sequence[Tensor], mode: str) -> Tensor:
    """Feature maps of several stages, each resized to the first's grid, as channels of one.

    mode: of `torch.nn.functional.interpolate`, "nearest" or "bilinear".
    """
    first, *others = features
    grid = first.shape[-2:]
    return torch.cat([first, *(functional.interpolate(f, grid, mode=mode) for f in others)], 1)
