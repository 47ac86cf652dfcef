import json
import re

import pytest
import torch

from a2bgan.training.step_profile import STEPS, StepProfile


def test_it_shows_whole_steps_after_the_warm_up(tmp_path):
    profile = StepProfile(tmp_path / "profile")
    a = torch.randn(200, 200)
    for step in range(STEPS + 3):
        assert profile.table is None
        if step >= 3:  # what came before is not looked at
            a @ a
            torch.randn(3).sort()
        profile.after_step(ready=step >= 2)
    pattern = r"^\| (aten::\w+) \| (\d+)% \| [\d.]+ \| ([\d.]+) \|$"
    calls = {name: float(count) for name, _, count in re.findall(pattern, profile.table, re.M)}
    assert calls["aten::mm"] == calls["aten::sort"] == 1
    assert (tmp_path / "profile" / "operations.md").read_text() == profile.table
    text = (tmp_path / "profile" / "trace.json").read_text()
    assert str(tmp_path) not in text and "host_name" not in text
    trace = json.loads(text)
    assert "aten::mm" in {event.get("name") for event in trace["traceEvents"]}


@pytest.mark.parametrize("steps", [0, 1, STEPS])
def test_too_short_a_training_leaves_nothing(tmp_path, steps):
    with StepProfile(tmp_path / "profile") as profile:
        for _ in range(steps):
            profile.after_step(ready=True)
    assert profile.table is None
    assert not profile.folder.exists()
