import errno
import json
import math
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from a2bgan.cli.app import app
from a2bgan.data.manifest import read_manifest
from a2bgan.errors import InputError
from a2bgan.training import loop
from a2bgan.training.checkpoint import (
    find_checkpoint,
    list_checkpoints,
    load_weights,
    save_checkpoint,
)
from a2bgan.training.config import load_config
from a2bgan.training.loop import refuse_impossible, train
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.run_folder import RunFolder

SMALL = (
    "data.size=32",
    "method.translator.width=4",
    "method.translator.blocks=1",
    "method.discriminator.features=null",
    "method.discriminator.width=4",
    "method.discriminator.warmup_steps=4",
    "train.batch_size=4",
    "train.precision=32-true",
    "train.accelerator=cpu",
    "train.log_every=2",
    "train.checkpoint_every=5",
    "train.sample_every=1000",
)

FEATURES = (
    "method.discriminator.features="
    "{backbone: tf_efficientnet_lite0, input_size: 64, evidence_size: 64}"
)
"""As the default method has them, beside `SMALL`."""


def images(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, 1, 32, 32), dtype=np.uint8)


def start(path: Path, *settings: str) -> RunFolder:
    return RunFolder.create(path, load_config("fast", None, [*SMALL, *settings]))


def run_training(path: Path, *settings: str, seed: int = 0, **options):
    run = start(path, *settings)
    return run, train(run.config(), images(9, seed), images(7, seed + 1), run, **options)


def weights(run: Path) -> dict[str, bytes]:
    checkpoint = find_checkpoint(run / "checkpoints")
    return {file.name: file.read_bytes() for file in checkpoint.glob("*.safetensors")}


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "a2bgan.cli.app", *map(str, arguments)]


def settings_of(*settings: str) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


def test_a_run_leaves_what_the_readme_says(tmp_path):
    reports = []
    run, outcome = run_training(tmp_path / "run", "train.steps=12", watch=reports.append)
    assert outcome.position.step == 12
    assert not outcome.interrupted
    names = [path.name for path in list_checkpoints(run.checkpoints)]
    assert names == ["step-00000005", "step-00000010", "step-00000012"]
    logged = list(run.metrics())
    assert [line["step"] for line in logged] == [2, 4, 6, 8, 10, 12]
    assert {"d_adversarial", "g_identity", "mask_mean"} <= logged[-1].keys()
    assert [report.fraction for report in reports][-1] == 1
    assert json.loads(run.environment_file.read_text())["packages"]["torch"]
    assert not run.tensorboard.exists()  # only where it is asked for
    assert (run.samples / "step-00000012.png").stat().st_size > 100
    assert not list(run.path.rglob("*.p*kl")) + list(run.path.rglob("*.pt"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    runs = [
        run_training(tmp_path / str(i), "train.steps=8", f"train.seed={seed}")[0].path
        for i, seed in enumerate((0, 0, 1))
    ]
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0])["translator.safetensors"] != weights(runs[2])["translator.safetensors"]


def test_more_processes_than_cores_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"devices.*: 99 devices, but this machine has no GPU"):
        run_training(tmp_path, "train.devices=99", "train.accelerator=cpu")


def run_command(arguments: list[str]) -> None:
    torch.set_num_threads(1)
    app(arguments)


def test_killed_at_random_and_resumed_bit_for_bit(tiny_set, tmp_path):
    # Every process is a fork of one that has imported everything, as imports take most of the time.
    processes = multiprocessing.get_context("forkserver")
    processes.set_forkserver_preload(["a2bgan.cli.app", "a2bgan.training.loop"])
    new = ["--data", str(tiny_set), *settings_of(*SMALL, "train.steps=200")]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    metrics = killed / "metrics.jsonl"

    def begin(*arguments: str):
        process = processes.Process(target=run_command, args=(["train", *arguments],))
        process.start()
        return process

    def logged() -> int:
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    process = begin("--out", str(whole), *new)
    process.join()
    assert process.exitcode == 0

    rng = random.Random(0)
    arguments = ["--out", str(killed), *new]
    kills = 0
    for _ in range(6):
        process = begin(*arguments)
        wanted = logged() + rng.randint(1, 8)
        while process.is_alive() and logged() < wanted:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02))
        process.kill()
        process.join()
        kills += process.exitcode == -signal.SIGKILL
        arguments = ["--out", str(killed), "--resume"]
    assert kills >= 3
    process = begin(*arguments)
    process.join()
    assert process.exitcode == 0
    assert weights(killed) == weights(whole)
    assert [line["step"] for line in RunFolder(killed).metrics()] == list(range(2, 201, 2))


def test_an_interrupt_leaves_a_checkpoint_and_says_how_to_go_on(tiny_set, tmp_path):
    run = tmp_path / "run"
    settings = settings_of(*SMALL, "train.steps=100000", "train.checkpoint_every=100000")
    process = subprocess.Popen(
        command("train", "--data", tiny_set, "--out", run, *settings),
        stderr=subprocess.PIPE,
        text=True,
        env=ONE_THREAD,
    )
    while process.poll() is None and not (run / "metrics.jsonl").exists():
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "go on with" in said
    assert "Traceback" not in said
    assert len(list_checkpoints(run / "checkpoints")) == 1


def test_labels_of_the_mixed_set_change_nothing(tiny_set, tmp_path):
    text = (tiny_set / "manifest.csv").read_text()
    header, *lines = text.splitlines()
    column = header.split(",").index("label")

    def relabel(line: str, label: str) -> str:
        cells = line.split(",")
        if cells[header.split(",").index("split")] == "mixed":
            cells[column] = label
        return ",".join(cells)

    rng = random.Random(0)
    found = []
    for i in range(3):
        choices = (["0", "1"], ["1", "0"], [""])[i]
        body = "\n".join([header, *(relabel(line, rng.choice(choices)) for line in lines)])
        manifest = tiny_set / f"manifest-{i}.csv"
        manifest.write_text(body + "\n")
        run = tmp_path / str(i)
        arguments = ["train", "--data", str(manifest), "--out", str(run)]
        settings = settings_of(*SMALL, FEATURES, "train.steps=8", "holdout.at_most=null")
        result = CliRunner().invoke(app, [*arguments, *settings])
        assert result.exit_code == 0, result.output
        decided = ("holdout.csv", "validation.jsonl", "selection.json", "calibration.json")
        found.append(weights(run) | {name: (run / name).read_bytes() for name in decided})
    labels = {
        tuple(row.label for row in read_manifest(tiny_set / f"manifest-{i}.csv").split("mixed"))
        for i in range(3)
    }
    assert len(labels) == 3
    assert found[0] == found[1] == found[2]


def test_checkpoints_are_validated_and_may_end_a_training(tmp_path):
    seen = []

    def validate(method, position):
        seen.append(position.step)
        return position.step >= 10

    run, outcome = run_training(tmp_path / "run", "train.steps=40", validate=validate)
    assert outcome.position.step == 10
    assert not outcome.interrupted
    assert seen == [5, 10, 10]
    sets = images(9, 0), images(7, 1)
    assert train(run.config(), *sets, run, resume=True, validate=validate).position.step == 10
    whole, _ = run_training(tmp_path / "whole", "train.steps=40")
    on = train(run.config(), *sets, run, resume=True)
    assert on.position.step == 40
    assert weights(run.path) == weights(whole.path)


def test_compiled_networks_learn_the_same(tmp_path):
    # With the backend that runs what was traced as it is; PyTorch answers for the others.
    found = {}
    for backend in ("null", "eager"):
        settings = (f"train.compile={backend}", "train.steps=6", "train.checkpoint_every=6")
        run, outcome = run_training(tmp_path / backend, *settings)
        found[backend] = outcome.method.networks["translator"].state_dict()
        load_weights(find_checkpoint(run.checkpoints), run.config().build_method())
    for name, value in found["null"].items():
        torch.testing.assert_close(found["eager"][name], value, rtol=1e-4, atol=1e-5)


def test_minutes_that_the_beginning_takes_leave_a_model_of_one_step(tmp_path):
    run, outcome = run_training(tmp_path / "run", "train.minutes=1e-4")
    assert outcome.steps == 1 and outcome.position.seconds > 60e-4
    assert [path.name for path in list_checkpoints(run.checkpoints)] == ["step-00000001"]
    assert [line["step"] for line in run.metrics()] == [1]


def test_a_budget_in_minutes_is_kept(tmp_path):
    began = time.monotonic()
    _, outcome = run_training(tmp_path / "run", "train.minutes=0.03")
    assert 1.7 < outcome.position.seconds < 6
    assert time.monotonic() - began < 20
    assert outcome.position.step > 4


def test_sets_smaller_than_a_batch(tmp_path):
    run = start(tmp_path / "run", "train.steps=3", "train.batch_size=8")
    outcome = train(run.config(), images(1, 0), images(2, 1), run)
    assert outcome.position.step == 3


def test_losses_that_are_no_longer_finite_end_the_run_in_words(tmp_path, monkeypatch):
    original = A2BGAN.step
    monkeypatch.setattr(
        A2BGAN,
        "step",
        lambda *given: {name: math.nan * loss for name, loss in original(*given).items()},
    )
    with pytest.raises(InputError, match="no longer finite; start a new run with lower"):
        run_training(tmp_path / "run", "train.steps=60")


@pytest.mark.parametrize(("every", "steps"), [(3, 60), (100, 4)])
def test_weights_that_are_no_longer_finite_are_never_written(every, steps, tmp_path, monkeypatch):
    """At a checkpoint between two reports, and at the end."""
    original = A2BGAN.step

    def step(self, healthy, mixed, moment):
        report = original(self, healthy, mixed, moment)
        if moment.step == 3:
            next(self.networks["translator"].parameters()).data[0] = torch.nan
        return report

    monkeypatch.setattr(A2BGAN, "step", step)
    settings = (f"train.steps={steps}", f"train.checkpoint_every={every}", "train.log_every=100")
    words = (
        r"step \d: weights of the translator(, .*)? no longer finite; start a new run with lower"
    )
    with pytest.raises(InputError, match=words):
        run_training(tmp_path / "run", *settings)
    names = [path.name for path in list_checkpoints(tmp_path / "run/checkpoints")]
    assert names == ["step-00000003"] * (every == 3)


@pytest.mark.parametrize(
    ("preset", "setting", "words"),
    [
        ("ganomaly", "data.size=100", "100"),
        ("fast", "train.accelerator=warp", "train.accelerator, devices, nodes or precision: "),
        ("padim", "method.backbone_weights=/none.pth", "none.pth: weights cannot be read"),
    ],
)
def test_what_cannot_be_trained_is_refused_without_images(preset, setting, words):
    refuse_impossible(load_config("fast", None, SMALL))
    with pytest.raises(InputError, match=words):
        refuse_impossible(load_config(preset, None, [setting]))


@pytest.mark.parametrize(
    "setting",
    ["train.accelerator=warp", "train.devices=0", "train.devices=x"],
)
def test_a_machine_that_is_not_there(setting, tmp_path):
    words = "train.accelerator, devices, nodes or precision: "
    with pytest.raises(InputError, match=words) as caught:
        run_training(tmp_path / "run", "train.steps=3", setting)
    assert "\n" not in str(caught.value)


class Crash(Exception):
    """Stands for whatever ends a process."""


def test_crashes_at_any_step_change_nothing(tmp_path):
    settings = ("train.steps=24", "train.log_every=1", "train.checkpoint_every=3")
    whole, _ = run_training(tmp_path / "whole", *settings)
    run = start(tmp_path / "crashed", *settings)

    def crash_at(step: int):
        def watch(report):
            if report.step == step:
                raise Crash

        return watch

    # Before the first checkpoint, at one, after one, twice in the same place, at the last step.
    for step in (2, 3, 8, 8, 15, 16, 23, 24):
        with pytest.raises(Crash):
            train(run.config(), images(9, 0), images(7, 1), run, resume=True, watch=crash_at(step))
    train(run.config(), images(9, 0), images(7, 1), run, resume=True)
    assert weights(run.path) == weights(whole.path)
    assert [line["step"] for line in run.metrics()] == list(range(1, 25))


def test_an_interrupt_ends_the_step_and_resuming_is_as_if_nothing_was(tmp_path):
    settings = ("train.steps=14", "train.checkpoint_every=100")
    whole, _ = run_training(tmp_path / "whole", *settings)
    run = start(tmp_path / "stopped", *settings)
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    for number, step in ((signal.SIGINT, 4), (signal.SIGTERM, 8)):

        def send(report, number=number, step=step):
            if report.step == step:
                os.kill(os.getpid(), number)

        sets = images(9, 0), images(7, 1)
        outcome = train(run.config(), *sets, run, resume=True, watch=send)
        assert (outcome.interrupted, outcome.position.step) == (True, step)
        assert find_checkpoint(run.checkpoints).name == f"step-{step:08d}"
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    outcome = train(run.config(), images(9, 0), images(7, 1), run, resume=True)
    assert (outcome.interrupted, outcome.position.step) == (False, 14)
    assert weights(run.path) == weights(whole.path)


def test_resuming_what_is_finished_changes_nothing(tmp_path):
    run, _ = run_training(tmp_path / "run", "train.steps=6")
    before, lines = weights(run.path), list(run.metrics())
    outcome = train(run.config(), images(9, 0), images(7, 1), run, resume=True)
    assert (outcome.position.step, outcome.steps) == (6, 0)
    assert weights(run.path) == before
    assert list(run.metrics()) == lines


def test_a_checkpoint_is_never_written_twice(tmp_path, monkeypatch):
    written = []

    def save(folder, method, position):
        written.append(position.step)
        return save_checkpoint(folder, method, position)

    monkeypatch.setattr(loop, "save_checkpoint", save)
    run, outcome = run_training(
        tmp_path / "run", "train.steps=40", validate=lambda method, at: at.step == 10
    )
    assert (outcome.position.step, outcome.steps) == (10, 10)
    assert written == [5, 10]
    assert (run.samples / "step-00000010.png").is_file()
    train(run.config(), images(9, 0), images(7, 1), run, resume=True, validate=lambda *_: True)
    assert written == [5, 10]


@pytest.mark.parametrize("what", ["append_metrics", "write_samples"])
def test_a_disk_that_fills_up_between_checkpoints_is_said_in_words(what, tmp_path, monkeypatch):
    run = start(tmp_path / "run", "train.steps=20", "train.sample_every=7")

    def full(*arguments, **options):
        if len(list_checkpoints(run.checkpoints)) == 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RunFolder if what == "append_metrics" else loop, what, full)
    with pytest.raises(
        InputError, match=r"cannot be written \(No space left on device\); make room"
    ):
        train(run.config(), images(9, 0), images(7, 1), run)
    monkeypatch.undo()
    outcome = train(run.config(), images(9, 0), images(7, 1), run, resume=True)
    assert outcome.position.step == 20
