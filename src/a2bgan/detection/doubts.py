"""Signs that a training has learned nothing, or too little, found without labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from a2bgan.detection.held_out import HeldOut
from a2bgan.detection.selection import separates_nothing, shown_error
from a2bgan.detection.trained import read_selection
from a2bgan.detection.trivial_statistics import best_statistic
from a2bgan.training.checkpoint import find_checkpoint, read_position
from a2bgan.training.config import TrainConfig
from a2bgan.training.methods.method import Method, StepMethod
from a2bgan.training.run_folder import RunFolder

DOUBTS = "doubts"
"""Where ``selection.json`` has them."""

LONGER = "train longer: --set train.minutes=N"


def find_doubts(
    run: RunFolder,
    method: Method,
    details: Mapping[str, Any],
    healthy: HeldOut,
    mixed: HeldOut,
) -> list[str]:
    """A sentence for each reason not to rely on a run, as the end of "this model is doubtful: ".

    method: with the selected weights. details: what speaks for the selection, as in
    ``selection.json``. healthy, mixed: held out to select by, possibly none.
    """
    found = _too_short(run, method)
    if separates_nothing(details):
        found.append(
            "held-out mixed images do not clearly score above held-out healthy ones (AUCp "
            f"{details['aucp']:.3f}, standard error {shown_error(details)}): {LONGER}; or the "
            "mixed set has next to no disease"
        )
    elif "aucp" in details and len(healthy) and len(mixed):
        images = np.concatenate([healthy.images, mixed.images])
        sets = np.repeat((0, 1), (len(healthy), len(mixed)))
        statistic, trivial = best_statistic(images, sets)
        if trivial >= details["aucp"]:
            found.append(
                f"{statistic} alone tells mixed from healthy images as well as the score does "
                f"({trivial:.3f} against {details['aucp']:.3f}): the score may have learned "
                "nothing else; `a2bgan data check` says what may help"
            )
    if method.no_better_than_chance:
        found.append(
            "models of frozen features do not tell mixed from healthy images of left-out patients: "
            "there may be next to nothing to learn"
        )
    return found


def read_doubts(run: RunFolder) -> list[str]:
    """Read what `find_doubts` said when a run's checkpoint was selected; none where none was."""
    doubts: list[str] = (read_selection(run) or {}).get(DOUBTS, [])
    return doubts


def _too_short(run: RunFolder, method: Method) -> list[str]:
    if not isinstance(method, StepMethod):
        return []
    settings = run.config().train
    position = read_position(find_checkpoint(run.checkpoints))
    if settings.least_steps is not None and position.step < settings.least_steps:
        return [
            f"{position.step} steps are too few: fewer than {settings.least_steps} have not been "
            f"enough before; {LONGER}"
        ]
    if _share_done(settings, position.step, position.seconds) < 0.9:
        return ["its training was stopped before the end; `a2bgan train --resume` goes on with it"]
    return []


def _share_done(settings: TrainConfig, step: int, seconds: float) -> float:
    """How much of the configured length a training has done."""
    if settings.minutes is not None:
        return seconds / (60 * settings.minutes)
    assert settings.steps is not None
    return step / settings.steps
