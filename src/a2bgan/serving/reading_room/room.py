"""The contents of a reading room."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.preprocessing import Placement
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.trained_model import Trained
from a2bgan.report.pictures import region_lines
from a2bgan.serving.reading_room.cases import Cases
from a2bgan.serving.reading_room.verdicts import Verdicts
from a2bgan.training.run_folder import RunFolder

Line = list[list[float]]


@dataclass(frozen=True)
class Room:
    """Run, cases and verdicts that the server shows.

    trained, cases: None while a run has no checkpoint; the progress of training is shown then.
    calibration: None where there is no threshold for the run's score.
    rate: of healthy patients flagged, where the slider starts.
    """

    run: RunFolder
    folder: Path
    verdicts: Verdicts
    trained: Trained | None = None
    cases: Cases | None = None
    calibration: Calibration | None = None
    rate: float = 0.05

    @property
    def contour_threshold(self) -> float | None:
        """Map values above it are in a region; None without a map or a calibrated threshold."""
        if self.trained is None or not self.trained.method.facts.makes_map:
            return None
        return None if self.calibration is None else self.calibration.pixel_threshold

    def contours(self, anomaly_map: NDArray[np.float64] | None, place: Placement) -> list[Line]:
        """Closed lines around the regions of a map (S, S), as `predict` draws them: of each the x
        and y of its points, in pixels of the film where the map has this place."""
        if self.contour_threshold is None or anomaly_map is None:
            return []
        mask = find_regions(anomaly_map, self.contour_threshold)
        return [line.round(2).tolist() for line in region_lines(mask, place)]
