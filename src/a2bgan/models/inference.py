"""Running a network that is still being trained as if it were not."""

from typing import Any

import torch
from torch import Tensor, nn


@torch.no_grad()
def infer(network: nn.Module, x: Tensor) -> Any:
    """``network(x)`` in evaluation mode and without gradients; its mode is left as it was.

    Batch norm then uses its running statistics, so that every image is judged by itself.
    """
    training = network.training
    network.eval()
    try:
        return network(x)
    finally:
        network.train(training)
