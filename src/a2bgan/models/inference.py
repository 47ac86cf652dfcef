"""Running networks without learning, and in which precision."""

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

    Batch norm then uses its running statistics, so that no image depends on another.
    """
    before = [network.training for network in networks]
    for network in networks:
        network.eval()
    try:
        yield
    finally:
        for network, training in zip(networks, before, strict=True):
            network.train(training)


def has_native_bfloat16(device_type: str) -> bool:
    """True for hardware ("cpu" or "cuda") that computes in bfloat16; else it is emulated."""
    if device_type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device_type == "cpu" and bool(torch.cpu._is_avx512_bf16_supported())
