"""Progress of a training, read from its files: for a page that asks again and again."""

import math
from typing import Any

from a2bgan.training.run_folder import RunFolder

MOST_LINES = 400
"""Logged lines that are passed on; of more, evenly chosen ones and the last."""


def training_progress(run: RunFolder) -> dict[str, Any]:
    """Logged values over the steps, the share that is over, and whether it has ended.

    ``values``: by name, one for each of ``steps``, None where not logged or not finite.
    """
    lines = list(run.metrics())
    if len(lines) > MOST_LINES:
        every = (len(lines) - 1) / (MOST_LINES - 1)
        lines = [lines[round(k * every)] for k in range(MOST_LINES)]
    names = dict.fromkeys(name for line in lines for name in line if name != "step")
    settings = run.config().train
    fraction = 0.0
    if lines and settings.steps is not None:
        fraction = lines[-1]["step"] / settings.steps
    elif lines:
        fraction = lines[-1].get("seconds", 0) / (60 * (settings.minutes or 1))
    return {
        "steps": [line["step"] for line in lines],
        "values": {name: [_number(line.get(name)) for line in lines] for name in names},
        "fraction": min(1.0, fraction) if math.isfinite(fraction) else 0.0,
        "ended": _ended(run),
    }


def _ended(run: RunFolder) -> bool:
    """True once it has ended or was stopped: the last file that a training writes is there."""
    try:
        return run.resources_file.stat().st_mtime >= run.metrics_file.stat().st_mtime
    except OSError:
        return False


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
