"""Run a trained method over images, batch by batch."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.scores import check_score, map_scores
from a2bgan.training.methods.method import Finding, Method

BATCH_SIZE = 32


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found in a batch of n images; everything on the CPU.

    x: (n, C, H, W) in [-1, 1]; scores: (n,), higher is less healthy.
    twin: (n, C, H, W) in [-1, 1], anomaly_map: (n, H, W), 0 or more; None where the method makes
    none.
    """

    x: Tensor
    scores: Tensor
    twin: Tensor | None
    anomaly_map: Tensor | None


def detect(
    method: Method,
    images: np.ndarray,
    score: str,
    version: str | None = None,
    batch_size: int = BATCH_SIZE,
) -> Iterator[Detection]:
    """Judge preprocessed images (N, C, H, W), uint8 or uint16, and score them.

    ``score`` is one of the method's own or one of its map's; raises InputError for another.
    ``version`` is one of the method's `versions`, by default its best.
    """
    check_score(score, method.facts)
    for x, finding in _found(method, images, version, batch_size):
        scores = _scores(finding, (score,))[score]
        yield Detection(x.cpu(), scores.cpu(), _cpu(finding.twin), _cpu(finding.anomaly_map))


def all_scores(
    method: Method, images: np.ndarray, version: str | None = None
) -> dict[str, np.ndarray]:
    """Every score there is of every image, (N,) float64 by name; one look serves all."""
    found: dict[str, list[Tensor]] = {}
    for _, finding in _found(method, images, version, BATCH_SIZE):
        for name, part in _scores(finding).items():
            found.setdefault(name, []).append(part.cpu())
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def _scores(finding: Finding, wanted: tuple[str, ...] | None = None) -> dict[str, Tensor]:
    """The method's own scores and those of its map, or the wanted ones of them."""
    own = dict(finding.scores or {})
    if wanted is not None and set(wanted) <= set(own):
        return {name: own[name] for name in wanted}
    if finding.anomaly_map is None:
        return own
    return own | map_scores(finding.anomaly_map, finding.mask, wanted)


@torch.no_grad()
def _found(
    method: Method, images: np.ndarray, version: str | None, batch_size: int
) -> Iterator[tuple[Tensor, Finding]]:
    for start in range(0, len(images), batch_size):
        x = to_unit_range(images[start : start + batch_size]).to(method.device)
        yield x, method.find(x, version)


def _cpu(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.cpu()
