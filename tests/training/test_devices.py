"""Training on two processes through Lightning Fabric."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from a2bgan.training.methods.a2bgan import READER, TEXTURE

SETTINGS = (
    "data.size=32",
    "method.translator.width=4",
    "method.translator.blocks=1",
    "method.discriminator.width=4",
    "method.discriminator.warmup_steps=2",
    "method.translator.learning_rate=2e-4",  # Adam makes steps of this of rounding errors
    "train.accelerator=cpu",
    "train.precision=32-true",
    "train.steps=6",
    "train.log_every=2",
    "method.discriminator.texture_width=4",
    # Each process chooses among its own images, and draws its own changes of them.
    "method.candidates=1",
    "train.augment.flip=false",
    "train.augment.shift=0",
    "train.augment.brightness=0",
    "train.augment.contrast=0",
    "holdout.at_least=1",
    "holdout.at_most=null",
)


def train(data: Path, out: Path, devices: int, batch_size: int) -> str:
    settings = (*SETTINGS, f"train.devices={devices}", f"train.batch_size={batch_size}")
    command = [sys.executable, "-m", "a2bgan.cli.app", "train", "--data", data, "--out", out]
    command += [part for setting in settings for part in ("--set", setting)]
    # As in a shell: not a process that something else has already counted.
    unset = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    environment = {k: v for k, v in os.environ.items() if k not in unset}
    result = subprocess.run(
        [*map(str, command)],
        capture_output=True,
        text=True,
        timeout=250,
        env={**environment, "OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_two_processes_learn_what_one_does_with_twice_the_batch(phantoms, tmp_path):
    said = train(phantoms, tmp_path / "two", devices=2, batch_size=2)
    train(phantoms, tmp_path / "one", devices=1, batch_size=4)
    assert said.count("6 steps in") == 1  # one of the two speaks
    assert (tmp_path / "two" / "selection.json").exists()
    for network in ("translator", "translator_ema", "discriminator", TEXTURE, READER):
        one, two = (
            load_file(tmp_path / name / f"checkpoints/step-00000006/{network}.safetensors")
            for name in ("one", "two")
        )
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-6, atol=2e-6, err_msg=name)
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [line["step"] for line in two] == [2, 4, 6]
    for ours, theirs in zip(two, one, strict=True):
        for name in theirs.keys() - {"seconds", "steps_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-4), name
