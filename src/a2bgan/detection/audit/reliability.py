"""Signs that a model has learned too little, found without labels."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from a2bgan.detection.audit.shortcuts import remedy
from a2bgan.detection.audit.trivial_statistics import best_statistic
from a2bgan.detection.decisions.selection import separates_nothing, shown_error
from a2bgan.detection.image_sets import ImageSet
from a2bgan.detection.trained_model import read_selection
from a2bgan.training.checkpoint import find_checkpoint, read_position
from a2bgan.training.methods.method import Method, StepMethod
from a2bgan.training.run_folder import RunFolder

KEY = "doubts"
"""Their key in ``selection.json``."""

LONGER = "train longer: train.minutes=N"


def find_weaknesses(
    run: RunFolder, method: Method, details: Mapping[str, Any], healthy: ImageSet, mixed: ImageSet
) -> list[str]:
    """A clause for each reason not to rely on a run, to follow "this model is doubtful: ".

    Args:
        method: with the selected weights.
        details: of the selection, as in ``selection.json``.
        healthy, mixed: held out to select by, possibly none.
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
                f"nothing else; {remedy(statistic)}"
            )
    if method.no_better_than_chance:
        found.append(
            "models of frozen features do not tell mixed from healthy images of left-out patients: "
            "there may be next to nothing to learn; look whether the mixed set has disease"
        )
    return found


def read_weaknesses(run: RunFolder) -> list[str]:
    """The clauses of `find_weaknesses` from a run's selection; none where nothing was selected."""
    weaknesses: list[str] = (read_selection(run) or {}).get(KEY, [])
    return weaknesses


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
    if settings.minutes is not None:
        done = position.seconds / (60 * settings.minutes)
    else:
        assert settings.steps is not None
        done = position.step / settings.steps
    if done < 0.9:
        return ["its training was stopped before the end: resume it"]
    return []
