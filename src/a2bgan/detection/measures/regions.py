"""Regions of masks, and areas marked as abnormal against lesions: how much, and how many, agree."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

# Images of a stack never touch.
_SAME_IMAGE_8_CONNECTED = np.zeros((3, 3, 3), dtype=bool)
_SAME_IMAGE_8_CONNECTED[1] = True


def label_regions(masks: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Number the regions of masks (N, H, W): pixels of one image that touch by side or corner.

    Returns (N, H, W) integers, 0 outside and 1 to n in the regions, and n.
    """
    from scipy import ndimage  # takes a while

    regions, count = ndimage.label(masks, structure=_SAME_IMAGE_8_CONNECTED)
    return regions, int(count)


def dice(found: NDArray[Any], masks: NDArray[Any]) -> float | None:
    """Dice coefficient ``2 |F and M| / (|F| + |M|)`` of the pixels of all images together.

    Args:
        found: (N, H, W), True where a pixel was marked as abnormal.
        masks: (N, H, W), True where there is lesion, in some images perhaps nowhere.

    Returns:
        A value in [0, 1], or None where nothing was marked and there is no lesion.
    """
    found, masks = _same_shape(found, masks)
    both = np.count_nonzero(found & masks)
    either = np.count_nonzero(found) + np.count_nonzero(masks)
    return 2 * both / either if either else None


def region_f1(found: NDArray[Any], masks: NDArray[Any]) -> float | None:
    """F1 of regions over all images: the harmonic mean of the share of lesions that a marked region
    meets and the share of marked regions that meet a lesion.

    One common pixel is enough, so one region over a whole image is right and finds every lesion in
    it: read `dice`, which has the same arguments and range, beside it.
    """
    found, masks = _same_shape(found, masks)
    marked, n_marked = label_regions(found)
    lesions, n_lesions = label_regions(masks)
    if not n_marked and not n_lesions:
        return None
    both = found & masks
    right, hit = len(np.unique(marked[both])), len(np.unique(lesions[both]))
    if not hit:
        return 0.0
    precision, sensitivity = right / n_marked, hit / n_lesions
    return 2 * precision * sensitivity / (precision + sensitivity)


def _same_shape(
    found: NDArray[Any], masks: NDArray[Any]
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    if found.ndim != 3 or found.shape != masks.shape:
        raise ValueError(
            f"found and masks must share one (N, H, W) shape; got {found.shape} and {masks.shape}"
        )
    return found.astype(bool, copy=False), masks.astype(bool, copy=False)
