"""A method of a few lines: how many standard deviations a pixel is from the mean healthy image."""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data.batches import to_unit_range
from a2bgan.training.methods.method import Facts, Finding, FitMethod
from a2bgan.training.methods.sections import MethodConfig
from a2bgan.training.training_sets import TrainingSets


class MeanImageConfig(MethodConfig):
    """Section ``method``."""

    name: Literal["mean_image"]
    smallest_deviation: float = Field(gt=0, le=1, description="of a pixel, on the scale -1 to 1")


class _Pixels(nn.Module):
    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        for name in ("mean", "deviation"):
            value = nn.Parameter(torch.zeros(channels, size, size), requires_grad=False)
            self.register_parameter(name, value)


class MeanImage(FitMethod):
    """Mean and standard deviation of each pixel over the healthy images."""

    Config = MeanImageConfig
    facts = Facts(title="Mean image", paper="none", score="mean", makes_twin=False)

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        return {"pixels": _Pixels(channels, size)}

    def fit(self, sets: TrainingSets) -> None:
        healthy = to_unit_range(sets.healthy)
        pixels = self.networks["pixels"]
        pixels.mean.copy_(healthy.mean(0))
        pixels.deviation.copy_(healthy.std(0).clamp(min=self.config.smallest_deviation))

    def _find(self, x: Tensor, version: str) -> Finding:
        pixels = self.networks["pixels"]
        return Finding(((x - pixels.mean).abs() / pixels.deviation).mean(1))
