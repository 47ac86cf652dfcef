"""A trained method, out of a run folder."""

from dataclasses import dataclass

import torch

from a2bgan.training.checkpoint import find_checkpoint, load_weights
from a2bgan.training.config import Config
from a2bgan.training.methods.method import Method
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Trained:
    """A method with the weights of one checkpoint, and how it was configured."""

    method: Method
    config: Config
    checkpoint: str


def load_trained(run: RunFolder, checkpoint: str = "last") -> Trained:
    """A run's method, on the GPU where there is one. Raises InputError."""
    config = run.config()
    found = find_checkpoint(run.checkpoints, checkpoint)
    method = config.build_method()
    load_weights(found, method)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for network in method.networks.values():
        network.to(device)
    return Trained(method, config, found.name)
