"""PatchCore: how far patches are from the nearest of a memory of healthy ones.

Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler: Towards Total Recall in Industrial Anomaly
Detection, CVPR 2022.

As in the paper: the second and third stage of a ResNet, each averaged over 3 x 3 neighbourhoods
(eqs. 1-3), the third resized to the second's grid and joined; a coreset by greedy k-centre on
randomly projected patches (eq. 5, algorithm 1); exact nearest neighbours (eq. 6); the score is the
largest distance of a patch, re-weighted by the neighbourhood of its nearest memory (eq. 7, b = 9);
the map is the distances, upsampled bilinearly and smoothed with a Gaussian of sigma 4.

Differences:
- Bounded memory: preset `patchcore` chooses 2,000 patches from a uniform sample of 20,000 (a
  reservoir filled in the pass). `patchcore-paper` chooses the paper's 10 % from all patches; where
  these do not fit into memory, from a sample of as many as do, and says so.
- Stages keep their channels, where the paper's code pools both to 1024 and their union again.
- Any timm backbone with stages at strides 8 and 16, or vision transformer; by default
  EfficientNet-Lite0. Preset `patchcore-paper` has the paper's Wide ResNet-50-2 with torchvision's
  first ImageNet weights, which must be there.
- Images and random features: see `a2bgan.training.methods.frozen_backbone`.
"""

from typing import Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.data import bounds
from a2bgan.errors import warn_caller
from a2bgan.models.backbone import on_the_first_grid
from a2bgan.models.coreset import Reservoir, greedy_k_centre, random_projection
from a2bgan.models.fitted import MemoryBank
from a2bgan.training.free_memory import free_memory, free_memory_of_gpu
from a2bgan.training.methods.frozen_backbone import FrozenBackboneConfig, FrozenBackboneMethod
from a2bgan.training.methods.method import Facts

USABLE = 0.8
"""The part of free memory, of the machine and of its GPU, that choosing a coreset may take."""


class PatchCoreConfig(FrozenBackboneConfig):
    """Section ``method`` for PatchCore."""

    name: Literal["patchcore"]
    reservoir: int | None = Field(
        ge=1,
        le=bounds.PATCHES,
        description="patches that the coreset is chosen from, at most; null: all that memory takes",
    )
    coreset: int | None = Field(
        ge=1, le=bounds.PATCHES, description="patches in memory, at most; null: coreset_share"
    )
    coreset_share: float | None = Field(
        None, gt=0, le=1, description="patches in memory, as a share of all; in place of coreset"
    )
    projection: int = Field(
        ge=1, le=bounds.UNITS, description="dimensions that the coreset is chosen in"
    )
    neighbours: int = Field(ge=1, le=1000, description="b, eq. 7; 1 does not re-weight")

    @model_validator(mode="after")
    def _has_one_size_of_memory(self) -> Self:
        if (self.coreset is None) == (self.coreset_share is None):
            raise ValueError("give either method.coreset or method.coreset_share, the other null")
        return self


class PatchCore(FrozenBackboneMethod):
    """A memory of healthy patches, filled in one pass."""

    Config = PatchCoreConfig
    facts = Facts(
        "PatchCore",
        "Roth et al., CVPR 2022",
        score="reweighted-max",
        own_scores=("reweighted-max",),
        makes_twin=False,
        pretrained=True,
    )
    strides = (8, 16)

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        self.bank = MemoryBank()
        self._seed = int(torch.randint(2**31, ()))
        self._reservoir: Reservoir | None = None
        return {"backbone": self.backbone, "memory": self.bank}

    def _learn(self, healthy: Tensor) -> None:
        patches = self._embed(self.backbone(healthy)).flatten(0, 2)
        if self._reservoir is None:
            size = self.config.reservoir
            if size is None:
                size = self._patches_that_fit(patches.shape[1])
            self._reservoir = Reservoir(size, self._seed)
        self._reservoir.add(patches)

    def _close(self) -> None:
        assert self._reservoir is not None
        points, seen = self._reservoir.points, self._reservoir.seen
        count = self.config.coreset
        if count is None:
            count = max(1, round(self.config.coreset_share * seen))
        if self.config.reservoir is None and len(points) < seen:
            warn_caller(
                f"{seen:,} patches of {points.shape[1]} numbers do not fit into memory: the "
                f"coreset of {min(count, len(points)):,} was chosen from a sample of "
                f"{len(points):,}; train with more memory, or with a smaller method.input_size"
            )
        generator = torch.Generator().manual_seed(self._seed)
        start = int(torch.randint(len(points), (), generator=generator))
        projected = random_projection(points, self.config.projection, generator)
        # Hundreds of thousands are chosen one after the other, which takes an accelerator.
        chosen = greedy_k_centre(projected.to(self.device), count, start)
        self.bank.fill(points[chosen].to(self.bank.patches.device))
        self._reservoir = None

    def _patches_that_fit(self, dimensions: int) -> int:
        """Patches of so many numbers that free memory takes while the coreset is chosen."""
        projected = min(self.config.projection, dimensions)
        coreset = dimensions * (self.config.coreset_share or 0)
        # Their projections, these centred, three numbers each; later the coreset alone.
        on_gpu = max(2 * projected + 3, coreset)
        # The patches and, where there is no GPU, the same; the coreset and its file.
        here = dimensions + 2 * projected + 3 + 2 * coreset
        fitting = min(free_memory() / here, free_memory_of_gpu(self.device) / on_gpu)
        return min(max(1, int(USABLE * fitting / 4)), bounds.PATCHES)  # 4 bytes a number

    def _compare(self, features: list[Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        distances, scores = [], []
        for patches in self._embed(features):  # each image by itself: results depend on no other
            flat = patches.flatten(0, 1)
            nearest, numbers = (found[:, 0] for found in self.bank.nearest(flat))
            distances.append(nearest.view(patches.shape[:2]))
            scores.append(self._score(flat, nearest, numbers))
        maps = self._smooth(torch.stack(distances))
        return maps, {"reweighted-max": torch.stack(scores)}

    def _score(self, patches: Tensor, nearest: Tensor, numbers: Tensor) -> Tensor:
        """Equation 7 for one image's patches (n, D), their distances and nearest memories (n,)."""
        top = nearest.argmax()
        memory = self.bank.patches[numbers[top]]
        _, around = self.bank.nearest(memory[None], self.config.neighbours)
        gaps = torch.linalg.vector_norm(patches[top] - self.bank.patches[around[0]], dim=1)
        return nearest[top] * reweighting(nearest[top], gaps)

    def _embed(self, stages: list[Tensor]) -> Tensor:
        """Patch features (N, h, w, D): 3 x 3 averages of two stages, joined."""
        averaged = [functional.avg_pool2d(f, 3, 1, 1) for f in stages]
        return on_the_first_grid(averaged, "bilinear").permute(0, 2, 3, 1).contiguous()


def reweighting(nearest: Tensor, gaps: Tensor) -> Tensor:
    """``1 - exp(s*) / sum_m exp(|p - m|)``, the weight of equation 7.

    nearest: () distance s* of a patch p to its nearest memory m*; gaps: (b,) distances of p to the
    b memories nearest to m*, itself among them. The rarer m* is, the nearer to 1; 1 for b = 1,
    where there is nothing to compare with.
    """
    if len(gaps) == 1:
        return torch.ones_like(nearest)
    return 1 - torch.exp(-torch.logsumexp(gaps - nearest, 0))
