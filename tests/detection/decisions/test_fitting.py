"""The command and the Detector fit alike: the same files and the same warnings."""

import json
import re
import warnings

import numpy as np
import pytest
import yaml
from PIL import Image
from sklearn.exceptions import ConvergenceWarning

from a2bgan import Detector

OF_THE_FIT = re.compile(r"this model is doubtful|nothing |\d+ held-out|the threshold")
"""Warnings at the end; those of the losses come while the command trains."""


@pytest.fixture
def noise(tmp_path):
    """24 healthy and 24 mixed images that do not differ, with patients; and their manifest."""
    rng = np.random.default_rng(0)
    lines, files = ["path,split,patient_id"], {}
    for split in ("healthy", "mixed"):
        (tmp_path / split).mkdir()
        files[split] = [tmp_path / split / f"{k:02d}.png" for k in range(24)]
        for k, file in enumerate(files[split]):
            Image.fromarray(rng.integers(0, 255, (40, 48), dtype=np.uint8)).save(file)
            lines.append(f"{split}/{file.name},{split},{split}{k:02d}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "manifest.csv", files


def detector(small, **changes):
    settings = dict(option.split("=", 1) for option in small if "=" in option)
    values = {name: yaml.safe_load(text) for name, text in settings.items()} | changes
    size, steps = values.pop("data.size"), values.pop("train.steps")
    return Detector(size=size, steps=steps, settings=values)


def fit(model, files):
    """Fit, and return the messages of all warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        patients = {name: [f"{name}{k:02d}" for k in range(24)] for name in files}
        model.fit(
            files["healthy"],
            files["mixed"],
            healthy_patients=patients["healthy"],
            mixed_patients=patients["mixed"],
        )
    return [str(w.message) for w in caught if issubclass(w.category, ConvergenceWarning)]


def test_both_doors_give_the_same_run_and_the_same_warnings(noise, small, a2bgan, tmp_path):
    manifest, files = noise
    run, saved = tmp_path / "run", tmp_path / "saved"
    result = a2bgan("train", "--data", manifest, "--out", run, "--keep-identifiers", *small)
    assert result.exit_code == 0, result.output
    model = detector(small)
    messages = fit(model, files)
    model.save(saved)
    for name in ("selection.json", "calibration.json"):
        assert json.loads((saved / name).read_text()) == json.loads((run / name).read_text())
    chosen = json.loads((saved / "selection.json").read_text())
    assert {"aucp", "diseased_share", "doubts"} <= set(chosen)
    assert Detector.load(saved).details_ == model.details_
    printed = re.findall(r"^warning: (.*)$", result.output, re.M)
    # The command names options where Python names parameters: --set train.steps=N, steps=N.
    printed = [line.replace("--set train.", "") for line in printed]
    assert [m for m in messages if OF_THE_FIT.match(m)] == [
        line for line in printed if OF_THE_FIT.match(line)
    ]
    assert any("do not clearly score above held-out healthy ones" in m for m in messages)
    assert any("too few for a rate of 0.05" in m for m in messages)


def test_the_detector_selects_by_fid_when_asked(noise, small):
    model = detector(small, **{"selection.by": "fid"})
    fit(model, noise[1])
    assert model.trained_.pick.rule == "fid"
    assert model.details_["fid"] > 0


def test_what_fid_needs_and_is_missing_is_a_warning(noise):
    settings = {"method.input_size": 32, "train.accelerator": "cpu", "selection.by": "fid"}
    model = Detector("pu", size=32, steps=2, settings=settings)
    messages = fit(model, noise[1])
    assert any(m.startswith("nothing selected:") and "no healthy twins" in m for m in messages)
    assert model.trained_.pick.rule == "last"
    assert model.details_ == {}
