"""Maps, contours and twins against the lesions of labelled images, one image at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.measures.localisation import MapMeasures, TwinErrors
from a2bgan.detection.measures.position import PositionMatching, position_alone
from a2bgan.detection.measures.regions import RegionAgreement
from a2bgan.detection.measures.stored_mask import StoredMask


class LesionMeasures:
    """Measures of localisation, collected while maps come and go.

    Args:
        masks: N lesion masks of (S, S).
        patients: N values that tell patients apart.
        pixel_threshold: map value of contours; None: they are not measured.
        true_twins: (N, C, S, S) uint8 or uint16, where they are known.
    """

    def __init__(
        self,
        masks: Sequence[StoredMask],
        patients: Sequence[str],
        pixel_threshold: float | None,
        true_twins: np.ndarray | None,
    ) -> None:
        self._masks = masks
        self._patients = patients
        self._threshold = pixel_threshold
        self._true_twins = true_twins
        self._guesses = position_alone(masks, patients)
        self._place = 0
        self._of_map, self._of_guess = MapMeasures(), MapMeasures()
        self._matching = PositionMatching()
        self._contours = RegionAgreement()
        self._twins = TwinErrors()

    def add(self, anomaly_map: np.ndarray, image: np.ndarray, twin: np.ndarray | None) -> None:
        """Measure the next image.

        anomaly_map: (S, S), higher is more abnormal; image: (C, S, S), uint8 or uint16 like the
        true twins; twin: (C, S, S) in [0, 1].
        """
        place = self._place
        self._place += 1
        mask = np.asarray(self._masks[place])
        self._of_map.add(anomaly_map, mask)
        self._of_guess.add(next(self._guesses), mask)
        self._matching.add(anomaly_map, mask, self._patients[place])
        if self._threshold is not None:
            self._contours.add(find_regions(anomaly_map, self._threshold), mask)
        if self._true_twins is not None and twin is not None:
            white = np.float32(np.iinfo(self._true_twins.dtype).max)
            self._twins.add(image / white, self._true_twins[place] / white, twin, mask)

    def by_name(self) -> dict[str, Any]:
        """The measures of the images so far, as in ``metrics.json``."""
        matched = self._matching.result()
        interval = None if matched is None else matched.interval
        measured: dict[str, Any] = {
            **self._of_map.by_name(),
            "position_matched_auroc": None if matched is None else matched.auroc,
            "position_matched_auroc_ci": None if interval is None else list(interval),
            "position_alone": self._of_guess.by_name(),
        }
        if self._true_twins is not None:
            errors = self._twins.by_name()
            measured |= {f"twin_{name}": _finite(value) for name, value in errors.items()}
        if self._threshold is not None:
            measured |= {"dice": self._contours.dice(), "region_f1": self._contours.region_f1()}
        return measured


def _finite(value: float | None) -> float | None:
    """Replace infinity, the PSNR of equal images, which JSON lacks."""
    return value if value is not None and np.isfinite(value) else None
