"""Instance norm for channels-last images on processors."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


class InstanceNorm2d(nn.InstanceNorm2d):
    """PyTorch's, with affine parameters; on a CPU in the layout and precision of its input.

    There PyTorch's copies channels-last images to another layout and back, in both directions, and
    in mixed precision returns float32; this one does neither. Means are computed in float32.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) to the same, each channel of each image with its own mean and variance."""
        if x.device.type != "cpu" or torch.compiler.is_compiling():
            return super().forward(x)
        out: Tensor = _Normalise.apply(x, self.weight, self.bias, self.eps)
        return out


class _Normalise(torch.autograd.Function):
    """weight (x - mean) / sqrt(variance + eps) + bias, over H and W."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
        centred = x - _mean(x).to(x.dtype)
        inverse = (_mean(centred * centred) + eps).rsqrt()
        ctx.save_for_backward(centred, inverse, weight)
        scale = (inverse * weight[:, None, None]).to(x.dtype)
        return torch.addcmul(bias[:, None, None].to(x.dtype), centred, scale)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        centred, inverse, weight = ctx.saved_tensors
        pixels = gradient.shape[2] * gradient.shape[3]
        mean = _mean(gradient)
        along = _mean(gradient * centred) * inverse
        scale = inverse * weight[:, None, None]
        of_x = torch.addcmul((-scale * mean).to(gradient.dtype), gradient, scale.to(gradient.dtype))
        of_x.addcmul_(centred, (-scale * along * inverse).to(gradient.dtype))
        of_weight, of_bias = ((part * pixels).sum((0, 2, 3)) for part in (along, mean))
        return of_x, of_weight, of_bias, None


def _mean(x: Tensor) -> Tensor:
    """(N, C, 1, 1), in float32 or better."""
    exact = torch.promote_types(x.dtype, torch.float32)
    return x.sum((2, 3), keepdim=True, dtype=exact) / (x.shape[2] * x.shape[3])
