"""Instance norm for channels-last images on processors."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

MANY_PIXELS = 1024
"""Number of pixels from which PyTorch's group norm goes through channels-last images pixel by
pixel, which is several times as fast."""


class InstanceNorm2d(nn.InstanceNorm2d):
    """PyTorch's, with affine parameters; on a CPU in the layout and precision of its input.

    There PyTorch's returns another layout and, in mixed precision, float32, which slows down what
    comes after. Means and variances are computed in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same, each channel of each image with its own mean and variance."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        with torch.autocast("cpu", enabled=False):
            if not torch.is_grad_enabled() and x.shape[2] * x.shape[3] >= MANY_PIXELS:
                # The same with a channel a group; its gradient is slow. It takes the square of the
                # mean from the mean of squares, which needs small means, but in half precision
                # loses less than the input has lost.
                if x.dtype not in (torch.bfloat16, torch.float16):
                    x = x - x.mean((2, 3), keepdim=True)
                return F.group_norm(x, self.num_features, self.weight, self.bias, self.eps)
            out = F.instance_norm(x, weight=self.weight, bias=self.bias, eps=self.eps)
        if x.is_contiguous(memory_format=torch.channels_last):
            out = out.contiguous(memory_format=torch.channels_last)
        return out
