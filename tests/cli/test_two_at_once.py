"""The same command twice at once on one run: a result is whole, or the second is refused."""

import json
import shutil
import subprocess
import sys

import pytest

from a2bgan.detection.decisions.calibration import read_calibration
from a2bgan.detection.trained_model import load_trained
from a2bgan.training.checkpoint import list_checkpoints
from a2bgan.training.run_folder import RunFolder


def twice(*arguments):
    """Run a command in two processes that begin together; what each ended with and said."""
    command = [sys.executable, "-m", "a2bgan", *map(str, arguments)]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=250)[0] for process in both]
    return list(zip((process.returncode for process in both), said, strict=True))


def assert_done_or_refused(ends):
    assert any(code == 0 for code, _ in ends), ends
    for code, said in ends:
        assert "Traceback" not in said
        if code:
            assert "is at work on it" in said


@pytest.mark.parametrize("command", [("select",), ("calibrate",), ("train", "--resume", "--out")])
def test_one_run(run, tmp_path, command):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    folder = RunFolder(copy)
    if command[0] == "train":  # as one that was killed before its last checkpoint
        checkpoints = list_checkpoints(folder.checkpoints)
        shutil.rmtree(checkpoints[-1])
        for file in (folder.resources_file, folder.selection_file, folder.calibration_file):
            file.unlink(missing_ok=True)
    assert_done_or_refused(twice(*command, copy))
    trained = load_trained(folder)
    read_calibration(folder)
    assert trained.pick.checkpoint == list_checkpoints(folder.checkpoints)[-1].name
    steps = [json.loads(line)["step"] for line in folder.metrics_file.read_text().splitlines()]
    assert steps == sorted(set(steps))
    assert not list(copy.rglob(".*step-*")) + list(copy.rglob("*.tmp*"))


def test_predict_into_one_folder(run, phantoms, a2bgan, tmp_path):
    one = tmp_path / "one"
    images = phantoms / "test"
    images = images if images.is_dir() else phantoms
    result = a2bgan("predict", run, images, "--out", one)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    ends = twice("predict", run, images, "--out", out)
    assert any(code == 0 for code, _ in ends), ends
    for code, said in ends:
        assert "Traceback" not in said
        assert code == 0 or len(said.strip().splitlines()) <= 3
    names = sorted(path.relative_to(one) for path in one.rglob("*") if path.is_file())
    assert sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file()) == names
    for name in names:
        assert (out / name).read_bytes() == (one / name).read_bytes(), name
