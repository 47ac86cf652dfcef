import sys
from types import ModuleType

import pytest

from a2bgan.errors import InputError
from a2bgan.training.loggers import open_logger
from a2bgan.training.run_folder import RunFolder

SETTINGS = {"data.size": 64, "train.seed": 0}


class Recorder:
    """Stands for a package's functions; notes every call."""

    def __init__(self) -> None:
        self.calls = []

    def __getattr__(self, name):
        def call(*values, **options):
            self.calls.append((name, *values, options))
            return self

        return call


@pytest.fixture
def package(monkeypatch):
    def install(name: str) -> Recorder:
        recorder = Recorder()
        module = ModuleType(name)
        module.__getattr__ = lambda name: getattr(recorder, name)
        monkeypatch.setitem(sys.modules, name, module)
        return recorder

    return install


def test_mlflow_gets_settings_once_and_numbers_by_step(package, tmp_path):
    recorder = package("mlflow")
    recorder.active_run = lambda: None
    for first in (0, 5):
        logger = open_logger("mlflow", RunFolder(tmp_path / "mine"), first, SETTINGS)
        logger.log(first + 1, {"loss": 0.5})
        logger.close()
    started, ended = ("start_run", {"run_name": "mine", "nested": False}), ("end_run", {})
    assert recorder.calls == [
        started, ("log_params", SETTINGS, {}), ("log_metrics", {"loss": 0.5}, {"step": 1}), ended,
        started, ("log_metrics", {"loss": 0.5}, {"step": 6}), ended,
    ]  # fmt: skip


def test_wandb_keeps_its_files_in_the_run(package, tmp_path):
    recorder = package("wandb")
    logger = open_logger("wandb", RunFolder(tmp_path), 0, SETTINGS)
    logger.log(1, {"loss": 0.5})
    logger.close()
    options = {"project": "a2bgan", "name": tmp_path.name, "dir": str(tmp_path), "config": SETTINGS}
    assert recorder.calls == [
        ("init", options), ("log", {"loss": 0.5}, {"step": 1}), ("finish", {}),
    ]  # fmt: skip


def test_a_package_that_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(
        InputError, match=r"train\.logger=wandb needs its package: pip install wandb"
    ):
        open_logger("wandb", RunFolder(tmp_path), 0, SETTINGS)


def test_nothing_is_logged_unless_it_is_asked_for(tmp_path):
    logger = open_logger(None, RunFolder(tmp_path), 0, SETTINGS)
    logger.log(1, {"loss": 0.5})
    logger.close()
    assert list(tmp_path.iterdir()) == []


def test_training_logs_by_name(phantoms, a2bgan, small, tmp_path, package):
    recorder = package("mlflow")
    options = ("--set", "train.logger=mlflow")
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *small, *options)
    assert result.exit_code == 0, result.output
    (params,) = (call[1] for call in recorder.calls if call[0] == "log_params")
    assert params["train.logger"] == "mlflow" and "method.name" in params
    steps = [call[2]["step"] for call in recorder.calls if call[0] == "log_metrics"]
    assert steps == sorted(set(steps)) and steps


def test_a_server_that_goes_away_does_not_end_a_training(package, tmp_path):
    recorder = package("mlflow")
    logger = open_logger("mlflow", RunFolder(tmp_path), 0, SETTINGS)

    def refuse(*values, **options):
        raise ConnectionError("refused")

    recorder.log_metrics = refuse
    with pytest.warns(UserWarning, match=r"mlflow no longer answers \(refused\)"):
        logger.log(1, {"loss": 0.5})
    logger.log(2, {"loss": 0.5})  # says nothing more
    logger.close()


def test_a_package_that_is_not_set_up_is_said_in_one_line(package, tmp_path):
    recorder = package("wandb")

    def refuse(**options):
        raise ValueError("no key;\nlog in")

    recorder.init = refuse
    with pytest.raises(InputError, match=r"train\.logger=wandb: no key; log in"):
        open_logger("wandb", RunFolder(tmp_path), 0, SETTINGS)
