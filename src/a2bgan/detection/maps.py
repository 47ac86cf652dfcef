"""The anomaly map: where, and by how much, an image differs from its healthy twin."""

from torch import Tensor


def difference_map(x: Tensor, twin: Tensor) -> Tensor:
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
