"""A module that is fitted to data in one pass: buffers whose sizes the data decides."""

from typing import Any

import torch
from torch import Tensor, nn


class Fitted(nn.Module):
    """Buffers take the sizes that were saved: how much was learned differs from run to run.

    ``map_scale`` () is the map value that pictures paint in the brightest colour.
    """

    map_scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("map_scale", torch.tensor(1.0))

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        for name, buffer in self.named_buffers(recurse=False):
            saved = state_dict.get(prefix + name)
            if saved is not None:
                setattr(self, name, torch.empty(saved.shape, dtype=buffer.dtype).to(buffer.device))
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
