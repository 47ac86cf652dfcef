"""Run a trained method over images, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.maps import difference_map
from a2bgan.detection.scores import SCORES, image_scores
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
    method: Method,
    images: np.ndarray,
    score: str = "mean",
    version: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Detection]:
    """Translate preprocessed images (N, C, H, W), uint8 or uint16, and score them.

    ``score`` is a name in `a2bgan.detection.scores.SCORES`; raises InputError for another.
    ``version`` is one of the method's `versions`, by default its best.
    """
    for x, twin, mask in _translated(method, images, version, batch_size):
        difference = difference_map(x, twin)
        scores = image_scores(score, difference, mask)
        yield Detection(x.cpu(), twin.cpu(), difference.cpu(), scores.cpu())


def all_scores(
    method: Method, images: np.ndarray, version: str | None = None
) -> dict[str, np.ndarray]:
    """Every score there is of every image, (N,) float64 by name; one translation serves all."""
    found: dict[str, list[Tensor]] = {name: [] for name in SCORES}
    for x, twin, mask in _translated(method, images, version, BATCH_SIZE):
        difference = difference_map(x, twin)
        for name, parts in found.items():
            parts.append(image_scores(name, difference, mask).cpu())
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


@torch.no_grad()
def _translated(
    method: Method, images: np.ndarray, version: str | None, batch_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    device = next(next(iter(method.networks.values())).parameters()).device
    for start in range(0, len(images), batch_size):
        x = to_unit_range(images[start : start + batch_size]).to(device)
        translation = method.translate(x, version)
        yield x, translation.healthy, translation.mask[:, 0]
