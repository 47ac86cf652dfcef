"""What a machine can do at most, as a yardstick: floating-point operations a second."""

import time
from collections.abc import Callable

import torch


def matmul_peak(
    kind: torch.dtype, clock: Callable[[], float] = time.perf_counter, device: str = "cpu"
) -> float:
    """The best of some products of square matrices, in operations a second.

    Float32 on a GPU is TF32, as in PyTorch's convolutions.
    """
    torch.backends.cuda.matmul.allow_tf32 = True
    side = 2048 if device == "cpu" else 8192
    a = torch.randn(side, side, device=device).to(kind)
    best = 0.0
    for _ in range(4):
        synchronize(device)
        began = clock()
        a @ a
        synchronize(device)
        best = max(best, 2 * side**3 / (clock() - began))
    return best


def synchronize(device: str) -> None:
    """Wait for what a GPU was asked to do; clocks read nothing otherwise."""
    if device != "cpu":
        torch.cuda.synchronize()
