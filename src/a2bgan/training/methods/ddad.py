"""DDAD: where autoencoders of B disagree with autoencoders of B and A.

Cai et al., "Dual-Distribution Discrepancy for Anomaly Detection in Chest X-Rays", MICCAI 2022;
"Dual-distribution Discrepancy with Self-supervised Refinement for Anomaly Detection in Medical
Images", Medical Image Analysis 2023 (DDAD-ASR), whose names are used here: the normative module is
trained on B alone, the unknown module on B and A together, K networks each.

As there: the plain autoencoder (AE) with its squared error, of the paper's three; networks, K = 3,
Adam, rate, and the inter- (the map; its mean is the image score) and intra-discrepancy (``intra``).
Different: the K networks of a module see the same batches, in place of an order of their own; a
batch of the unknown module is half B, half A, whatever the sizes of the sets; both modules take the
same number of steps; discrepancies are divided by 2 to be fractions of the intensity range. Not
here: the variants AE-U and MemAE and the self-supervised refinement of DDAD-ASR.
"""

from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from a2bgan.data import bounds
from a2bgan.models.autoencoder import Autoencoder, Ensemble
from a2bgan.models.blend import difference_map
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod
from a2bgan.training.methods.sections import BottleneckConfig

MODULES = ("normative", "unknown")


def inter_discrepancy(normative: Tensor, unknown: Tensor) -> Tensor:
    """The paper's A_inter: |mean of one ensemble - mean of the other|, averaged over channels.

    Both are reconstructions (K, N, C, H, W) of images in [-1, 1]; returns (N, H, W), 0 or more.
    """
    return difference_map(unknown.mean(0), normative.mean(0))


def intra_discrepancy(normative: Tensor) -> Tensor:
    """The paper's A_intra: standard deviation over the K reconstructions (K, N, C, H, W).

    Divides by K - 1, as the released code does; averaged over channels and pixels, (N,).
    """
    return normative.std(0).mean(dim=(1, 2, 3)) / 2


class DDADConfig(BottleneckConfig):
    """Section ``method`` for DDAD."""

    name: Literal["ddad"]
    members: int = Field(ge=2, le=bounds.NETWORKS, description="K, autoencoders in each module")


class DDAD(StepMethod):
    """Two ensembles of autoencoders, the normative and the unknown module."""

    Config = DDADConfig
    memory_format = torch.contiguous_format
    facts = Facts(
        "DDAD", "Cai et al., MICCAI 2022", own_scores=("intra",), uses_mixed=True, makes_twin=False
    )

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c = self.config
        return {
            module: Ensemble(
                Autoencoder(channels, size, c.widths, c.hidden, c.latent) for _ in range(c.members)
            )
            for module in MODULES
        }

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step of every autoencoder, of the unknown module on half of each batch."""
        half = len(healthy) // 2
        batches = {"normative": healthy, "unknown": torch.cat([healthy[half:], mixed[:half]])}
        report = {}
        for module, batch in batches.items():
            error = (self.wrapped[module](batch) - batch).square().flatten(1).mean(1)
            self._descend(error.sum(), module)
            report[f"{module}_error"] = error.detach().mean()
        return report

    @property
    def map_scale(self) -> float:
        """Ensemble means differ by less than a lesion does from healthy tissue."""
        return 0.1

    def _find(self, x: Tensor, version: str) -> Finding:
        normative, unknown = (self.networks[module](x) for module in MODULES)
        return Finding(
            inter_discrepancy(normative, unknown), scores={"intra": intra_discrepancy(normative)}
        )
