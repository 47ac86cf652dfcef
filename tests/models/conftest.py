"""A source of features that can be computed by hand."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional


class Pyramid(nn.Module):
    """Means of an image over squares of 8, 16 and 32 pixels, each times a few numbers."""

    channels = (2, 3, 4)

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        for number, count in enumerate(self.channels):
            self.register_buffer(f"factors_{number}", torch.randn(count, generator=generator))

    def forward(self, x: Tensor) -> list[Tensor]:
        return [
            functional.avg_pool2d(x, 8 * 2**number)
            * getattr(self, f"factors_{number}")[:, None, None]
            for number in range(3)
        ]


@pytest.fixture
def pyramid() -> Pyramid:
    """A backbone of strides 8, 16 and 32 for images of one channel."""
    return Pyramid()
