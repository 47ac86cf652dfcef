import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.manifest import read_manifest
from a2bgan.errors import InputError
from a2bgan.training.checkpoint import find_checkpoint, list_checkpoints
from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.run_folder import RunFolder

SMALL = (
    "data.size=32",
    "method.translator.width=4",
    "method.translator.blocks=1",
    "method.discriminator.width=4",
    "method.discriminator.warmup_steps=4",
    "train.batch_size=4",
    "train.precision=32-true",
    "train.accelerator=cpu",
    "train.log_every=2",
    "train.checkpoint_every=5",
    "train.sample_every=1000",
)


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
    assert list(run.tensorboard.iterdir())
    assert (run.samples / "step-00000012.png").stat().st_size > 100
    assert not list(run.path.rglob("*.p*kl")) + list(run.path.rglob("*.pt"))


def test_the_same_seed_gives_the_same_weights_and_another_does_not(tmp_path):
    runs = [
        run_training(tmp_path / str(i), "train.steps=8", f"train.seed={seed}")[0].path
        for i, seed in enumerate((0, 0, 1))
    ]
    assert weights(runs[0]) == weights(runs[1])
    assert weights(runs[0])["translator.safetensors"] != weights(runs[2])["translator.safetensors"]


def test_killed_at_random_and_resumed_bit_for_bit(tiny_set, tmp_path):
    settings = settings_of(*SMALL, "train.steps=60")
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    data = ("--data", tiny_set)
    subprocess.run(command("train", *data, "--out", whole, *settings), check=True, env=ONE_THREAD)
    rng = random.Random(0)
    arguments: tuple[object, ...] = ("train", *data, "--out", killed, *settings)
    for _ in range(3):
        process = subprocess.Popen(command(*arguments), env=ONE_THREAD)
        metrics = killed / "metrics.jsonl"
        wanted = (metrics.read_bytes().count(b"\n") if metrics.exists() else 0) + 3
        while process.poll() is None and (
            not metrics.exists() or metrics.read_bytes().count(b"\n") < wanted
        ):
            time.sleep(0.002)
        time.sleep(rng.uniform(0, 0.1))
        process.send_signal(signal.SIGKILL)
        process.wait()
        arguments = ("train", "--out", killed, "--resume")
    subprocess.run(command(*arguments), check=True, env=ONE_THREAD)
    assert weights(killed) == weights(whole)
    steps = [line["step"] for line in RunFolder(killed).metrics()]
    assert steps == list(range(2, 61, 2))


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
        arguments = ("train", "--data", manifest, "--out", run)
        settings = settings_of(*SMALL, "train.steps=8")
        subprocess.run(command(*arguments, *settings), check=True, env=ONE_THREAD)
        found.append(weights(run))
    labels = {
        tuple(row.label for row in read_manifest(tiny_set / f"manifest-{i}.csv").split("mixed"))
        for i in range(3)
    }
    assert len(labels) == 3
    assert found[0] == found[1] == found[2]


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


def test_losses_that_are_no_longer_finite_end_the_run_in_words(tmp_path):
    with pytest.raises(InputError, match="no longer finite; lower the learning rates"):
        run_training(tmp_path / "run", "train.steps=60", "method.translator.learning_rate=1e30")


def test_an_accelerator_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match=r"train.accelerator, devices or precision"):
        run_training(tmp_path / "run", "train.steps=3", "train.accelerator=warp")
