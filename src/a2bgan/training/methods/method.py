"""The interface every method offers: build networks, take a training step, translate images."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from lightning_fabric import Fabric
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn

from a2bgan.models.translator import Translation


@dataclass(frozen=True, slots=True)
class Moment:
    """Where training stands at one step.

    step: steps done before this one.
    fraction: of the whole training that is over, in [0, 1]; schedules follow it.
    generator: this step's random numbers, on the training device; a function of seed and step.
    """

    step: int
    fraction: float
    generator: torch.Generator


class MethodConfig(BaseModel):
    """Section ``method`` of a configuration; each method adds its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str


class Method(ABC):
    """A way to learn what healthy looks like.

    A new method is one file with a subclass, its pydantic configuration (with a literal ``name``)
    and one line in the registry.
    """

    Config: ClassVar[type[MethodConfig]]
    networks: dict[str, nn.Module]
    """Everything with weights, by the name it has in a checkpoint."""
    optimizers: dict[str, torch.optim.Optimizer]
    """Empty until `prepare` was called."""

    @abstractmethod
    def __init__(self, config: Any, channels: int, size: int) -> None:
        """Fresh networks for images of 1 or 3 channels and ``size`` pixels a side."""

    @abstractmethod
    def prepare(self, fabric: Fabric) -> None:
        """Put the networks on the device and make the optimisers; called once before training."""

    @abstractmethod
    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One training step on a batch of B and a batch of A, (N, C, H, W) in [-1, 1].

        Returns what is worth plotting: detached scalars by name.
        """

    @property
    def translates(self) -> bool:
        """False while what translates has not been trained at all, as in a warm-up."""
        return True

    @property
    def versions(self) -> tuple[str, ...]:
        """Sets of weights that can translate, such as raw and averaged ones; the best first."""
        return ("raw",)

    @abstractmethod
    def translate(self, x: Tensor, version: str | None = None) -> Translation:
        """The healthy twins of images (N, C, H, W) in [-1, 1], without gradients.

        ``version`` is one of `versions`, by default the first.
        """

    @abstractmethod
    def diagnose(self, averages: dict[str, float]) -> str | None:
        """A warning in words, with what to try, if these recent averages of `step` look sick."""
