"""Blends of image and intermediate image (eqs. 1 and 2), and the difference of a twin."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def healthy_translation(x: "Tensor", intermediate: "Tensor", mask: "Tensor") -> "Tensor":
    """Equation 1: ``x' = b m + x (1 - m)``, the healthy twin.

    Shapes: ``x`` and ``intermediate`` (N, C, H, W) in [-1, 1], ``mask`` (N, 1, H, W) in [0, 1].
    """
    return intermediate * mask + x * (1 - mask)


def masked_reconstruction(x: "Tensor", intermediate: "Tensor", mask: "Tensor") -> "Tensor":
    """Equation 2: ``r = x m + b (1 - m)``, the input again, where the mask was right.

    Needs no second pass of the translator: this is how the paper has cycle consistency without
    a network that makes healthy images sick. Shapes as in `healthy_translation`.
    """
    return x * mask + intermediate * (1 - mask)


DIFFERENCE_SCALE = 0.3
"""Top of the scale of difference maps in pictures: a lesion that stands out to the eye differs by
0.1 to 0.3 of the intensity range, and whatever differs more gets the same, brightest colour."""


def difference_map(x: "Tensor", twin: "Tensor") -> "Tensor":
    """Mean over channels of ``|x - x'| / 2`` (paper, section 3.3).

    Args:
        x: images, (N, C, H, W), floats in [-1, 1].
        twin: their healthy twins x', of the same shape and range.

    Returns:
        (N, H, W) in [0, 1], as a fraction of the intensity range: 0 where nothing changed, 1 where
        every channel went from one end of the range to the other.

    Raises:
        ValueError: the shapes differ, or are not (N, C, H, W).
    """
    # Checked because broadcasting would otherwise compare every image with one twin, silently.
    if x.ndim != 4 or x.shape != twin.shape:
        raise ValueError(
            f"images and twins must share one (N, C, H, W) shape; "
            f"got {tuple(x.shape)} and {tuple(twin.shape)}"
        )
    return (x - twin).abs().mean(dim=1) / 2
