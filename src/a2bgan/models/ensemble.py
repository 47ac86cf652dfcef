"""Several networks of one kind as one network."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class Ensemble(nn.Module):
    """Networks that look at the same images, each with its own weights."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, x: Tensor) -> Tensor:
        """What each of the K members makes of ``x``, (K, ...)."""
        return torch.stack([member(x) for member in self.members])
