"""A bank of healthy patch features and how far others are from it (PatchCore, section 3.3)."""

import torch
from torch import Tensor

from a2bgan.models.fitted import Fitted

QUERIES_AT_ONCE = 1024
"""So many patches are compared with the bank at a time, which bounds memory."""


class MemoryBank(Fitted):
    """Patch features to compare with, searched exactly.

    Attributes (buffers):
        patches: (M, D) float32.
    """

    patches: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("patches", torch.empty(0, 0))

    def fill(self, patches: Tensor) -> None:
        """Keep these patches (M, D) float32 and no others."""
        self.patches = patches

    def nearest(self, queries: Tensor, count: int = 1) -> tuple[Tensor, Tensor]:
        """Distances and numbers in the bank, (n, count) each, of patches nearest to (n, D).

        ``count`` is cut to the size of the bank. Nearest first.
        """
        count = min(count, len(self.patches))
        # `cdist` has distances as differences of squares, which cancel where they are large.
        centre = self.patches.mean(0)
        bank = self.patches - centre
        numbers = torch.cat(
            [
                torch.cdist(part - centre, bank).topk(count, dim=1, largest=False).indices
                for part in torch.split(queries, QUERIES_AT_ONCE)
            ]
        )
        gaps = queries[:, None] - self.patches[numbers]
        return torch.linalg.vector_norm(gaps, dim=2), numbers
