import json
import subprocess
import sys
import time

import pytest

from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder
from a2bgan.training.run_lock import HOLDER, run_lock

HOLD = """
import sys, time
from pathlib import Path
from a2bgan.training.run_lock import run_lock
with run_lock(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    path = RunFolder.create(tmp_path / "run", load_config("fast")).path
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield path, process
    process.kill()
    process.wait()


def test_the_second_is_told_who_holds_it_and_a_dead_one_is_taken_over(other):
    path, process = other
    with (
        pytest.raises(
            InputError, match=rf"`a2bgan train` is at work on it \(process {process.pid}\)"
        ),
        run_lock(path, "select"),
    ):
        pass
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    with run_lock(path, "select"):
        assert json.loads((path / HOLDER).read_text())["doing"] == "select"
    assert time.monotonic() < deadline
    assert not (path / HOLDER).exists()


def test_a_run_at_work_is_neither_replaced_nor_selected(other, a2bgan, says, phantoms, small):
    path, _ = other
    for command in (
        ("train", "--out", path, "--data", phantoms, *small, "--overwrite"),
        ("select", path),
        ("calibrate", path),
    ):
        result = a2bgan(*command)
        assert result.exit_code == 1
        assert "is at work on it" in says(result)
    assert (path / "config.yaml").exists()


def test_an_overwritten_run_is_there_whole_or_as_it_was(tmp_path):
    run = RunFolder.create(tmp_path / "run", load_config("fast"))
    (run.path / "old").write_text("old")

    def killed(new):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        RunFolder.create(tmp_path / "new", load_config("fast"), fill=killed)
    assert not (tmp_path / "new").exists()
    RunFolder.create(tmp_path / "run", load_config("fast"), overwrite=True)
    assert not (run.path / "old").exists()
    assert (run.path.stat().st_mode & 0o777) == 0o700
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
