"""Running networks that are still being trained as if they were not."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def inference(*networks: nn.Module) -> Iterator[None]:
    """No gradients, and evaluation mode, inside the block; then the modes are as they were."""
    with evaluation_mode(*networks), torch.no_grad():
        yield


@contextmanager
def evaluation_mode(*networks: nn.Module) -> Iterator[None]:
    """Evaluation mode inside the block; then the modes are as they were.

    Batch norm then uses its running statistics, so that every image is judged by itself.
    """
    before = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in zip(networks, before, strict=True):
            network.train(training)
