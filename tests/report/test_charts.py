import base64
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.manifest import Row
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.selection import Candidate
from a2bgan.detection.evaluate import Evaluation
from a2bgan.detection.patient_scores import PATIENT_SCORES
from a2bgan.detection.pick import Pick
from a2bgan.errors import InputError
from a2bgan.report.charts import roc_chart, roc_figure, selection_chart

PICK = Pick("step-00000002", "ema", "mean", "aucp", "top-k")


def test_the_selection_of_volumes_shows_the_patient_score_that_was_picked():
    candidates = [
        Candidate(step, f"step-{step:08d}", "ema", "mean", 0.5 + 0.1 * k + 0.01 * step, 0.02, rule)
        for step in (1, 2, 3)
        for k, rule in enumerate(PATIENT_SCORES)
    ]
    of_the_pick = [c for c in candidates if c.patients == PICK.patients]
    shown = selection_chart(candidates, PICK)
    assert shown == selection_chart(of_the_pick, PICK)
    assert shown != selection_chart(candidates, replace(PICK, patients="max"))


def test_the_roc_curve_marks_the_threshold():
    rows = [
        Row(name, Path(name), "test", label, name, None, None)
        for name, label in zip("abcdef", [0, 0, 1, 1, 0, 1], strict=True)
    ]
    scores = np.array([0.1, 0.2, 0.3, 0.4, 0.35, 0.5])
    tested = Evaluation({"auroc": 0.889, "auroc_ci": [0.5, 1]}, rows, scores, [], [])
    healthy = np.linspace(0, 0.38, 20)
    none = np.zeros(20)
    calibration = Calibration(PICK, healthy, healthy, none, none, np.arange(20))
    plain = roc_figure(tested, None, 0.05).axes[0]
    marked = roc_figure(tested, calibration, 0.05).axes[0]
    assert [text.get_text() for text in plain.texts] == ["AUROC 0.89 (0.50 to 1.00)"]
    (point,) = [line for line in marked.lines if line.get_marker() == "o"]
    assert (point.get_xdata()[0], point.get_ydata()[0]) == (0, 2 / 3)  # above 0.38
    assert marked.texts[1].get_text() == "threshold at 5\N{NO-BREAK SPACE}%"
    assert (
        "b3472f"
        in base64.b64decode(roc_chart(tested, calibration, 0.05).partition(",")[2]).decode()
    )
    one_class = Evaluation(tested.metrics, rows[:2], scores[:2], [], [])
    assert roc_chart(one_class, None, 0.05) is None
    with pytest.raises(InputError, match="all normal or all abnormal"):
        roc_figure(one_class, None, 0.05)
