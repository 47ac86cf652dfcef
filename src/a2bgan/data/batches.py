"""Random batches from a set of preprocessed images, repeatable from the step number alone."""

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from a2bgan.data.unit_range import in_unit_range


class AugmentConfig(BaseModel):
    """Config section ``train.augment``: random changes to training images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip: bool = Field(description="mirror left and right, half of the time")
    shift: float = Field(ge=0, le=0.5, description="largest shift, as a share of the side")
    brightness: float = Field(ge=0, le=2, description="added, up to +-this/2, of a range of 2")
    contrast: float = Field(ge=0, lt=2, description="multiplied by 1 +- up to this/2")


class RandomBatches:
    """Shuffled passes over a set, cut into batches; a pass may end inside a batch.

    The images of step ``t`` depend only on the seed and ``t``: a resumed training sees what an
    uninterrupted one would have seen. A set smaller than a batch is gone through several times.

    Args:
        images: (N, C, H, W) uint8 or uint16, usually memory-mapped; N >= 1.
        batch_size: images per batch on this process.
        seed: of the shuffles; give every set its own.
        rank, world_size: this process's part of a step's images among several.
    """

    def __init__(
        self, images: np.ndarray, batch_size: int, seed: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.images = images
        self.batch_size = batch_size
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self._pass = -1
        self._order = np.empty(0, dtype=np.int64)

    def indices(self, step: int) -> np.ndarray:
        """Row numbers (batch_size,) of the images of a step, counted from 0."""
        first = (step * self.world_size + self.rank) * self.batch_size
        positions = np.arange(first, first + self.batch_size)
        return np.array([self._shuffled(p // self.size)[p % self.size] for p in positions.tolist()])

    @property
    def size(self) -> int:
        return len(self.images)

    def _shuffled(self, number: int) -> np.ndarray:
        if number != self._pass:
            self._pass = number
            self._order = np.random.default_rng([self.seed, number]).permutation(self.size)
        return self._order

    def __call__(self, step: int) -> Tensor:
        """The images of a step, (batch_size, C, H, W) float32 in [-1, 1]."""
        return to_unit_range(self.images[self.indices(step)])


def to_unit_range(images: np.ndarray) -> Tensor:
    """uint8 or uint16 images of any shape to float32 in [-1, 1]."""
    return torch.from_numpy(in_unit_range(images))


def to_grey_levels(x: Tensor) -> np.ndarray:
    """Float images in [-1, 1] (clipped) to uint8 in [0, 255], for pictures."""
    return x.detach().float().add(1).mul(127.5).round().clamp(0, 255).byte().cpu().numpy()


def augment(x: Tensor, config: AugmentConfig, generator: torch.Generator) -> Tensor:
    """Flip, shift (edges repeated), contrast and brightness, each image by its own draw.

    ``x`` (N, C, H, W) in [-1, 1]; returns the same shape, which brightness and contrast may take
    slightly out of the range. ``generator`` must be on the device of ``x``.
    """
    n, _, h, w = x.shape

    def draw() -> Tensor:
        return torch.rand(n, generator=generator, device=x.device)

    if config.flip:
        x = torch.where((draw() < 0.5)[:, None, None, None], x.flip(3), x)
    if config.shift > 0:
        rows = _shifted(h, config.shift, draw())
        columns = _shifted(w, config.shift, draw())
        batch = torch.arange(n, device=x.device)[:, None, None]
        x = x.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if config.contrast > 0:
        x = x * (1 + config.contrast * (draw() - 0.5))[:, None, None, None]
    if config.brightness > 0:
        x = x + (config.brightness * (draw() - 0.5))[:, None, None, None]
    return x


def _shifted(length: int, share: float, draw: Tensor) -> Tensor:
    """(N, length) source positions for shifts of up to ``share`` of the length."""
    offset = ((2 * draw - 1) * share * length).round().long()
    return (torch.arange(length, device=draw.device) + offset[:, None]).clamp(0, length - 1)
