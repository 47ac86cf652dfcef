"""The contents of a reading room."""

from dataclasses import dataclass
from pathlib import Path

from a2bgan.detection.calibration import Calibration
from a2bgan.detection.trained_model import Trained
from a2bgan.serving.cases import Cases
from a2bgan.serving.verdicts import Verdicts
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True)
class Room:
    """What the server of a reading room shows.

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
