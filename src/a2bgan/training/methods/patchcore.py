"""PatchCore: how far patches are from the nearest of a memory of healthy ones.

Roth, Pemula, Zepeda, Schoelkopf, Brox and Gehler: Towards Total Recall in Industrial Anomaly
Detection, CVPR 2022.

As in the paper: the second and third stage of a ResNet, each averaged over 3 x 3 neighbourhoods
(eqs. 1-3), the third resized to the second's grid and joined; a coreset by greedy k-centre on
randomly projected patches (eq. 5, algorithm 1); exact nearest neighbours (eq. 6); the score is the
largest distance of a patch, re-weighted by the neighbourhood of its nearest memory (eq. 7, b = 9);
the map is the distances, upsampled bilinearly and smoothed with a Gaussian of sigma 4.

Differences:
- Bounded memory: greedy k-centre chooses from a uniform sample of all patches (a reservoir filled
  in the pass), where the paper has it choose from all.
- The coreset has a number of patches, not a percentage.
- Stages keep their channels, where the paper's code pools both to 1024 and their union again.
- Any timm backbone with stages at strides 8 and 16, or vision transformer; by default
  EfficientNet-Lite0. Preset `patchcore-paper` has the paper's Wide ResNet-50-2 with torchvision's
  first ImageNet weights, which must be there.
- Images and random features: see `a2bgan.training.methods.frozen_backbone`.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.data import bounds
from a2bgan.models.backbone import on_the_first_grid
from a2bgan.models.coreset import Reservoir, greedy_k_centre, random_projection
from a2bgan.models.fitted import MemoryBank
from a2bgan.training.methods.frozen_backbone import FrozenBackboneConfig, FrozenBackboneMethod
from a2bgan.training.methods.method import Facts


class PatchCoreConfig(FrozenBackboneConfig):
    """Section ``method`` for PatchCore."""

    name: Literal["patchcore"]
    reservoir: int = Field(
        ge=1, le=bounds.PATCHES, description="patches that the coreset is chosen from, at most"
    )
    coreset: int = Field(ge=1, le=bounds.PATCHES, description="patches in memory, at most")
    projection: int = Field(
        ge=1, le=bounds.UNITS, description="dimensions that the coreset is chosen in"
    )
    neighbours: int = Field(ge=1, le=1000, description="b, eq. 7; 1 does not re-weight")


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
        self._reservoir = Reservoir(self.config.reservoir, self._seed)
        return {"backbone": self.backbone, "memory": self.bank}

    def _learn(self, healthy: Tensor) -> None:
        self._reservoir.add(self._embed(self.backbone(healthy)).flatten(0, 2))

    def _close(self) -> None:
        points = self._reservoir.points
        generator = torch.Generator().manual_seed(self._seed)
        start = int(torch.randint(len(points), (), generator=generator))
        projected = random_projection(points, self.config.projection, generator)
        chosen = greedy_k_centre(projected, self.config.coreset, start)
        self.bank.fill(points[chosen].to(self.bank.patches.device))
        self._reservoir = Reservoir(self.config.reservoir, self._seed)

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
