from itertools import product
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from a2bgan.detection.decisions.rule_comparison import RuleComparison, RulePick
from a2bgan.detection.decisions.selection import Candidate
from a2bgan.detection.pick import Pick

SCORES = ("mean", "smooth-max", "top-k", "mask-weighted", "discriminator", "evidence")


@pytest.mark.parametrize("steps", [(10,), (10, 20, 30)])
@pytest.mark.parametrize("of_patients", [("max",), ("max", "top-k", "mean")])
def test_every_line_looks_different_and_one_checkpoint_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, steps: tuple[int, ...],
    of_patients: tuple[str, ...],
) -> None:  # fmt: skip
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(
        Figure, "savefig", lambda self, *a, **k: drawn.append(self) or save(self, *a, **k)
    )
    candidates = [
        Candidate(step, f"step-{step}", version, score, 0.5 + k / 100, 0.1, patients)
        for step in steps
        for k, (version, score, patients) in enumerate(product(("ema", "raw"), SCORES, of_patients))
    ]
    rows = [RulePick("last", Pick(f"step-{steps[-1]}", "ema", "mean", "last"), 0.5)]
    path = tmp_path / "compare.png"
    RuleComparison(rows, candidates, candidates).plot(path)
    for axes in drawn[0].axes:
        lines = [line for line in axes.get_lines() if line.get_color() != "black"]
        looks = {(x.get_color(), x.get_marker(), x.get_fillstyle()) for x in lines}
        assert len(looks) == len(lines) == 2 * len(SCORES) * len(of_patients)
        assert all(len(line.get_xdata()) == len(steps) for line in lines)
    # With markers even a single checkpoint leaves colours behind.
    with Image.open(path) as picture:
        assert len(picture.convert("RGB").getcolors(10**6) or ()) > 50
