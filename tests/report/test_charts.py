import base64
from dataclasses import replace

from a2bgan.detection.decisions.selection import Candidate
from a2bgan.detection.measures.roc import roc_band
from a2bgan.detection.patient_scores import PATIENT_SCORES
from a2bgan.detection.pick import Pick
from a2bgan.report.charts import Point, roc_chart, selection_chart

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
    band = roc_band([0, 0, 1, 1, 0, 1], [0.1, 0.2, 0.3, 0.4, 0.35, 0.5], list("abcdef"))
    plain = roc_chart(band, 0.889, None)
    marked = roc_chart(band, 0.889, None, Point(0.33, 0.67, "threshold at 5 %"))
    assert "b3472f" in base64.b64decode(marked.partition(",")[2]).decode()
    assert "b3472f" not in base64.b64decode(plain.partition(",")[2]).decode()
