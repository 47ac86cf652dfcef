"""Averaged weights: what a network has been lately, steadier than what it is."""

import torch
from torch import nn

SHARE = 0.1
"""Weights are averaged over at most this share of the updates so far."""


@torch.no_grad()
def average_weights(average: nn.Module, network: nn.Module, decay: float, update: int) -> None:
    """Move an exponential moving average of a network's weights towards them; copy its buffers.

    Args:
        average: the same network, changed in place.
        network: as it is after its own update number ``update``, counted from 0; steps in which it
            stays as it is, such as a warm-up's, are not averaged over.
        decay: in [0, 1). A short training would average over its untrained beginning: the average
            reaches back over at most `SHARE` of the updates so far.
    """
    newest = max(1 - decay, 1 / (1 + SHARE * update))
    torch._foreach_lerp_([*average.parameters()], [*network.parameters()], newest)
    for kept, buffer in zip(average.buffers(), network.buffers(), strict=True):
        kept.copy_(buffer)
