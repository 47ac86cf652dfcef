"""Run a trained method over images, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.maps import difference_map
from a2bgan.detection.scores import image_scores
from a2bgan.training.methods.method import Method

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in a batch of n images; everything on the CPU.

    x, twin: (n, C, H, W) in [-1, 1]; difference: (n, H, W) in [0, 1]; scores: (n,).
    """

    x: Tensor
    twin: Tensor
    difference: Tensor
    scores: Tensor


def detect(
    method: Method, images: np.ndarray, score: str = "mean", batch_size: int = BATCH_SIZE
) -> Iterator[Detection]:
    """Translate preprocessed images (N, C, H, W), uint8 or uint16, and score them.

    ``score`` is a name in `a2bgan.detection.scores.SCORES`; raises InputError for another.
    """
    device = next(next(iter(method.networks.values())).parameters()).device
    for start in range(0, len(images), batch_size):
        x = to_unit_range(images[start : start + batch_size]).to(device)
        with torch.no_grad():
            translation = method.translate(x)
            difference = difference_map(x, translation.healthy)
            scores = image_scores(score, difference, translation.mask[:, 0])
        yield Detection(x.cpu(), translation.healthy.cpu(), difference.cpu(), scores.cpu())
