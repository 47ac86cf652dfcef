"""Evaluation mode for as long as a block lasts."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*networks: nn.Module) -> Iterator[None]:
    """Batch norms use their running statistics inside the block; then all is as it was."""
    before = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in zip(networks, before, strict=True):
            network.train(training)
