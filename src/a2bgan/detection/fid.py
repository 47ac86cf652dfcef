"""Frechet inception distance between translated mixed images and healthy ones: the paper's pick.

The paper takes the checkpoint whose translations of A come closest to B in the features of an
Inception network (its section 4). Weights are never downloaded here.
"""

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torchmetrics.image.fid import FrechetInceptionDistance

from a2bgan.data.batches import to_unit_range
from a2bgan.errors import InputError
from a2bgan.training.methods.method import Method

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"

BATCH_SIZE = 32


class FeatureNetwork(nn.Module):
    """Features (N, num_features) of images (N, C, H, W) in [-1, 1]; ``label`` names the network."""

    num_features: int
    label: str


class Inception(FeatureNetwork):
    """The 2048 features of torch-fidelity's port of the original Inception v3.

    Raises InputError in one line where the weights are neither at ``path`` nor in PyTorch's cache.
    """

    num_features = 2048
    label = "Inception v3"

    def __init__(self, path: Path | None = None) -> None:
        super().__init__()
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

        file = Path(torch.hub.get_dir(), "checkpoints", INCEPTION_FILE) if path is None else path
        if not file.is_file():
            raise InputError(
                f"FID needs Inception weights: fetch {INCEPTION_FILE} (torch-fidelity v0.2.0) and "
                f"give --inception FILE, or put it at {file}"
            )
        try:
            # The library would run code from the file; one that holds tensors alone has none.
            torch.load(file, weights_only=True)
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(file))
        except Exception as error:  # whatever a foreign file provokes
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file}: not the weights of Inception v3 ({reason})") from None

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        pixels = x.add(1).mul(127.5).round().clamp(0, 255).byte()
        features: Tensor = self.network(pixels.expand(-1, 3, -1, -1))[0]
        return features


class RandomFeatures(FeatureNetwork):
    """An untrained convolutional network with weights from a seed, where Inception is missing.

    Random features tell distributions apart too, but not as people would; figures made with them
    are marked by ``label``.
    """

    num_features = 64
    label = "random features (untrained network, seed 0)"

    def __init__(self, channels: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        widths = (channels, 16, 32, self.num_features)
        self.weights = [
            torch.randn(o, i, 4, 4, generator=generator) * (2 / (16 * i)) ** 0.5
            for i, o in pairwise(widths)
        ]

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        for weight in self.weights:
            x = functional.leaky_relu(functional.conv2d(x, weight.to(x), stride=2, padding=1), 0.2)
        return x.mean(dim=(2, 3))


def frechet_distance(
    method: Method,
    mixed: np.ndarray,
    healthy: np.ndarray,
    network: FeatureNetwork,
    version: str | None = None,
) -> float:
    """FID between the translations of mixed images and healthy images as they are.

    Args:
        mixed, healthy: preprocessed images (N, C, H, W); two of each at least.
        version: of the method's weights, by default its best.
    """
    metric = FrechetInceptionDistance(feature=network)
    device = method.device
    metric.to(device)
    for images, real in ((healthy, True), (mixed, False)):
        for start in range(0, len(images), BATCH_SIZE):
            x = to_unit_range(images[start : start + BATCH_SIZE]).to(device)
            shown = x if real else method.find(x, version).twin
            assert shown is not None
            metric.update(shown, real=real)
    return float(metric.compute())
