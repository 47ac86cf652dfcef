"""Small methods, batches and moments for the tests of training steps."""

from typing import Any

import torch
from lightning_fabric import Fabric
from torch import Tensor

from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Moment

TRANSLATION = (
    "data.size=32",
    "method.translator.width=3",
    "method.translator.blocks=1",
    "method.discriminator.width=3",
    "method.discriminator.depth=3",
    "train.accelerator=cpu",
)
"""Sizes of small networks of methods that translate."""

STYLED = (
    "data.size=32",
    "method.translator.width=2",
    "method.translator.blocks=1",
    "method.translator.style=3",
    "method.translator.hidden=4",
    "method.discriminator.width=2",
    "train.accelerator=cpu",
)
"""The same for translators with a style."""


def make(preset: str, *settings: str, double: bool = False, precision: str = "32-true") -> Any:
    """A prepared method of a preset, in float64 if ``double``."""
    method = load_config(preset, None, settings).build_method()
    if double:
        for network in method.networks.values():
            network.double()
    method.prepare(Fabric(accelerator="cpu", devices=1, precision=precision))
    return method


def batches(step: int, channels: int = 1) -> tuple[Tensor, Tensor]:
    """Noise in float64: four images of B and four of A, of 32 x 32 pixels."""
    generator = torch.Generator().manual_seed(100 + step)
    shape = (2, 4, channels, 32, 32)
    b, a = torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1
    return b, a


def moment(step: int, fraction: float = 0.3) -> Moment:
    return Moment(step, fraction, torch.Generator().manual_seed(step))


def squares(outputs: list[Tensor], wanted: float) -> Tensor:
    """The least-squares loss of a discriminator of several scales."""
    return torch.stack([((output - wanted) ** 2).mean() for output in outputs]).sum()


def assert_falls(reports: list[dict[str, Tensor]], *names: str) -> None:
    """Each of these losses is a tenth lower at the end than at the start."""
    for name in names:
        values = [report[name].item() for report in reports if name in report]
        assert sum(values[-5:]) < 0.9 * sum(values[:5]), name


def assert_same_weights(
    found: torch.nn.Module, wanted: torch.nn.Module, rtol: float = 1e-9, atol: float = 1e-10
) -> None:
    for p, q in zip(found.parameters(), wanted.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=rtol, atol=atol)
