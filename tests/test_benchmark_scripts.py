"""What a script in benchmarks/ does is a command; asked for help it explains itself and ends."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import typer

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("coverage_simulation", "Draws scores from known distributions"),
        ("volumes", "within 12 mm of a lesion"),
    ],
)
def test_help_is_given_and_nothing_started(script, said, tmp_path):
    command = [sys.executable, REPOSITORY / "benchmarks" / f"{script}.py", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert said in " ".join(result.stdout.split())
    assert not list(tmp_path.iterdir())


def test_an_interrupt_ends_a_study_and_a_failure_does_not(monkeypatch):
    monkeypatch.syspath_prepend(REPOSITORY / "benchmarks")
    own_command = importlib.import_module("own_command")

    def interrupted() -> None:
        raise KeyboardInterrupt

    app = typer.Typer()
    app.command("methods")(interrupted)
    app.command("other")(lambda: None)
    own_command.a2bgan("methods")
    monkeypatch.setattr(own_command, "app", app)
    with pytest.raises(SystemExit) as ended:
        own_command.a2bgan("methods")
    assert ended.value.code == own_command.INTERRUPTED
