"""The two ways image and intermediate image are blended through the mask (eqs. 1 and 2)."""

from torch import Tensor


def healthy_translation(x: Tensor, intermediate: Tensor, mask: Tensor) -> Tensor:
    """Equation 1: ``x' = b m + x (1 - m)``, the healthy twin.

    Shapes: ``x`` and ``intermediate`` (N, C, H, W) in [-1, 1], ``mask`` (N, 1, H, W) in [0, 1].
    """
    return intermediate * mask + x * (1 - mask)


def masked_reconstruction(x: Tensor, intermediate: Tensor, mask: Tensor) -> Tensor:
    """Equation 2: ``r = x m + b (1 - m)``, the input again, where the mask was right.

    Needs no second pass of the translator: this is how the paper has cycle consistency without
    a network that makes healthy images sick. Shapes as in `healthy_translation`.
    """
    return x * mask + intermediate * (1 - mask)
