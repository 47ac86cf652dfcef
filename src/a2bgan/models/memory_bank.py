"""A bank of healthy patch features and how far others are from it (PatchCore, section 3.3)."""

from typing import Any

import faiss
import torch
from torch import Tensor

from a2bgan.models.fitted import Fitted


class MemoryBank(Fitted):
    """Patch features to compare with, searched exactly.

    Attributes (buffers):
        patches: (M, D) float32.
    """

    patches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patches", torch.empty(0, 0))
        self._index: Any = None

    def fill(self, patches: Tensor) -> None:
        """Keep these patches (M, D) float32 and no others."""
        self.patches = patches
        self._index = None

    def nearest(self, queries: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """Distances and numbers in the bank, (n, count) each, of patches nearest to (n, D).

        ``count`` is cut to the size of the bank. Nearest first.
        """
        index = self._index
        if index is None:
            # Others may search meanwhile: they get a full index or make their own.
            index = faiss.IndexFlatL2(self.patches.shape[1])
            index.add(self.patches.cpu().numpy())
            self._index = index
        count = min(count, len(self.patches))
        _, found = index.search(queries.cpu().numpy(), count)
        numbers = torch.from_numpy(found).to(queries.device)
        # Faiss has them as differences of large squares, which cancel where patches are near.
        gaps = queries[:, None] - self.patches[numbers]
        return torch.linalg.vector_norm(gaps, dim=2), numbers

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._index = None
