"""Regions of masks, and areas marked as abnormal against lesions: how much, and how many, agree."""

from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Images of a stack never touch.
_SAME_IMAGE_8_CONNECTED = np.zeros((3, 3, 3), dtype=bool)
_SAME_IMAGE_8_CONNECTED[1] = True


def label_regions(masks: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """Number the regions of masks (N, H, W): pixels of one image that touch by side or corner.

    Returns (N, H, W) integers, 0 outside and 1 to n in the regions, and n.
    """
    if not masks.any():
        return np.zeros(masks.shape, dtype=np.int32), 0
    from scipy import ndimage  # takes longer than all else of an image without a region

    regions, count = ndimage.label(masks, structure=_SAME_IMAGE_8_CONNECTED)
    return regions, int(count)


class RegionAgreement:
    """Areas marked as abnormal against lesions, image by image."""

    def __init__(self) -> None:
        self._both = self._either = 0  # pixels
        self._marked = self._right = self._lesions = self._hit = 0  # regions

    @classmethod
    def of(cls, found: NDArray[Any], masks: NDArray[Any]) -> Self:
        """Compare areas (N, H, W) with masks (N, H, W)."""
        agreement = cls()
        for each, mask in zip(found, masks, strict=True):
            agreement.add(each, mask)
        return agreement

    def add(self, found: NDArray[Any], mask: ArrayLike) -> None:
        """Add one image.

        Args:
            found: (H, W), True where a pixel was marked as abnormal.
            mask: (H, W), True where there is lesion, perhaps nowhere.
        """
        mask = np.asarray(mask)
        if found.ndim != 2 or found.shape != mask.shape:
            raise ValueError(
                f"area and mask must share one (H, W) shape; got {found.shape} and {mask.shape}"
            )
        found, mask = (each.astype(bool, copy=False) for each in (found, mask))
        if not found.any() and not mask.any():
            return
        both = found & mask
        self._both += int(np.count_nonzero(both))
        self._either += int(np.count_nonzero(found) + np.count_nonzero(mask))
        marked, n_marked = label_regions(found[np.newaxis])
        lesions, n_lesions = label_regions(mask[np.newaxis])
        self._marked += n_marked
        self._lesions += n_lesions
        self._right += len(np.unique(marked[0][both]))
        self._hit += len(np.unique(lesions[0][both]))

    def dice(self) -> float | None:
        """Dice coefficient ``2 |F and M| / (|F| + |M|)`` of the pixels of all images together.

        A value in [0, 1], or None where nothing was marked and there is no lesion.
        """
        return 2 * self._both / self._either if self._either else None

    def region_f1(self) -> float | None:
        """F1 of regions over all images: the harmonic mean of the share of lesions that a marked
        region meets and the share of marked regions that meet a lesion.

        One common pixel is enough, so one region over a whole image is right and finds every lesion
        in it: read `dice`, which has the same range, beside it.
        """
        if not self._marked and not self._lesions:
            return None
        if not self._hit:
            return 0.0
        precision, sensitivity = self._right / self._marked, self._hit / self._lesions
        return 2 * precision * sensitivity / (precision + sensitivity)
