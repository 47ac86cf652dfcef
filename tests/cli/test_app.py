import re
import resource
import subprocess
import sys
import warnings
from importlib import metadata
from pathlib import Path

import pytest

from a2bgan import __version__
from a2bgan.cli import app
from a2bgan.cli.console import with_options

SOURCE = Path(__file__).resolve().parents[2] / "src" / "a2bgan"
COMMAND = [sys.executable, "-m", "a2bgan.cli.app"]


def seconds_of_children() -> float:
    """Processor time, which other work on the machine does not lengthen."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def test_help_takes_less_than_a_second():
    began = seconds_of_children()
    text = subprocess.run([*COMMAND, "--help"], capture_output=True, text=True, check=True).stdout
    assert seconds_of_children() - began < 1
    assert all(name in text for name in ("train", "evaluate", "predict", "figure", "data"))


def test_what_the_user_can_mend_is_one_line_and_exit_code_1(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.png,0\n")
    out = str(tmp_path / "run")
    for arguments, message in (
        (["train", "--data", str(tmp_path / "m.csv"), "--out", out], "missing column split"),
        (["train", "--data", str(tmp_path / "none"), "--out", out], "no such file or folder"),
        (["train", "--out", out], "--data is missing"),
        (["evaluate", out], "not a run"),
    ):
        result = subprocess.run([*COMMAND, *arguments], capture_output=True, text=True)
        assert result.returncode == 1
        assert result.stdout == ""
        assert result.stderr.startswith("error: ")
        assert message in result.stderr
        assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["select"], "labels: what is best on --labels; last: the last checkpoint."),
        (["select"], "[default: (the preset's selection.by)]"),
        (["train"], "a name of `a2bgan methods`"),
        (["evaluate"], "What the measures are: docs/reading.md"),
        (["listen"], "[default: (this machine alone)]"),
        (["data", "phantom"], "enlarged_heart or effusion."),
        (["data", "prepare"], "chestxray8: the disease; by default Cardiomegaly."),
        (["data", "prepare"], "that goes into the mixed set; by default 0.5."),
        (["calibrate"], "Score the held-out healthy images, from which p-values come"),
        (["translate"], "as they would look in B (the healthy set)"),
    ],
)
def test_help_says_what_an_option_does(a2bgan, monkeypatch, command, said):
    monkeypatch.setenv("COLUMNS", "400")  # nothing is broken off in the middle of a word
    shown = a2bgan(*command, "--help").output.replace("│", " ")
    assert "".join(said.split()) in "".join(shown.split())


def test_the_version_is_that_of_the_package(a2bgan):
    assert a2bgan("--version").output.strip() == metadata.version("a2bgan") == __version__


def test_warnings_are_lines_that_name_options(capsys, monkeypatch):
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
    monkeypatch.setattr(app, "app", lambda: warnings.warn("lost: train.logger=x", stacklevel=1))
    app.main()
    assert capsys.readouterr().err == "warning: lost: --set train.logger=x\n"


def test_what_messages_name_are_options_of_the_command():
    said = "6 steps are too few; train longer: train.minutes=N, or data.size=auto"
    shown = "6 steps are too few; train longer: --set train.minutes=N, or --set data.size=auto"
    assert with_options(said) == with_options(shown) == shown
    for said, shown in (
        ("give allow_leaks=True, and", "give --allow-leaks, and"),
        ("resume=True or overwrite=True", "--resume or --overwrite"),
        (
            "give method.backbone_weights=PATH; or",
            "give --set method.backbone_weights=PATH, of `a2bgan benchmark` --backbone-weights "
            "PATH; or",
        ),
    ):
        assert with_options(said) == with_options(shown) == shown
    for other in ("/data/train.steps=3", "setting 'data.size=[': not readable", "holdout.at_most"):
        assert with_options(other) == other


def test_messages_that_reach_the_detector_name_no_option():
    # Its users have a dictionary of settings; the command adds what it takes them by.
    folders = (SOURCE / name for name in ("data", "detection", "models", "training"))
    files = [file for folder in folders for file in folder.rglob("*.py")]
    options = re.compile(r"--(?:set|overwrite|allow-leaks|backbone-weights)\b")
    assert not {file.name for file in files if options.search(file.read_text())}
