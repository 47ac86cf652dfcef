"""An autoencoder of healthy images: what it cannot rebuild is not healthy.

Baur et al., "Autoencoders for Unsupervised Anomaly Segmentation in Brain MR Images: A Comparative
Study", Medical Image Analysis 2021 (its AE, dense).

As there: trained on healthy images alone, by the absolute error, with Adam; the map is |x - x'|.
Preset `autoencoder-paper` has its size (128), code (128 numbers), channels (32, 64, 128, 128 down
to 8 x 8), rate and batch. Different: the network is that of DDAD (`a2bgan.models.autoencoder`: 4x4
convolutions, ReLU and a fully connected layer before and after the code, for 5x5, leaky ReLU and
1x1 convolutions), without dropout; a fixed length, for early stopping on a validation loss; no
knowledge of brains (skull stripping, bright lesions only, median filter) in the map; and an image
score, the map's mean, which the paper does not have.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from a2bgan.models.autoencoder import Autoencoder
from a2bgan.models.blend import difference_map
from a2bgan.training.methods.method import Facts, Finding, Moment, StepMethod
from a2bgan.training.methods.sections import BottleneckConfig


class AutoencoderConfig(BottleneckConfig):
    """Section ``method`` for the autoencoder."""

    name: Literal["autoencoder"]


class AutoencoderMethod(StepMethod):
    """One autoencoder, trained on B."""

    Config = AutoencoderConfig
    memory_format = torch.contiguous_format
    facts = Facts("Autoencoder", "Baur et al., Medical Image Analysis 2021")

    def _build(self, channels: int, size: int) -> dict[str, nn.Module]:
        c = self.config
        return {"autoencoder": Autoencoder(channels, size, c.widths, c.hidden, c.latent)}

    def step(self, healthy: Tensor, mixed: Tensor, moment: Moment) -> dict[str, Tensor]:
        """One step on B."""
        loss = (self.wrapped["autoencoder"](healthy) - healthy).abs().mean()
        self._descend(loss, "autoencoder")
        return {"reconstruction": loss.detach()}

    def _find(self, x: Tensor, version: str) -> Finding:
        twin = self.networks["autoencoder"](x).clamp(-1, 1)
        return Finding(difference_map(x, twin), twin)
