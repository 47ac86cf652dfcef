"""Training on two processes, however they were started, through Lightning Fabric."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

Process = subprocess.Popen[str]

SETTINGS = (
    "data.size=32",
    "method.translator.width=4",
    "method.translator.blocks=1",
    "method.translator.ema=0.9",
    "method.discriminator.width=4",
    "method.discriminator.warmup_steps=2",
    "method.translator.learning_rate=2e-4",  # Adam makes steps of this of rounding errors
    "train.accelerator=cpu",
    "train.precision=32-true",
    "train.steps=6",
    "train.log_every=2",
    "method.discriminator.features=null",
    # Each process draws its own changes of its images.
    "train.augment.flip=false",
    "train.augment.shift=0",
    "train.augment.brightness=0",
    "train.augment.contrast=0",
    "holdout.at_least=1",
    "holdout.at_most=null",
)


def train(data: Path, out: Path, devices: int, batch_size: int, nodes: int = 1) -> list[str]:
    """The command that trains, for each of the processes to be started."""
    settings = [*SETTINGS, f"train.devices={devices}", f"train.batch_size={batch_size}"]
    settings.append(f"train.nodes={nodes}")
    command = ["-m", "a2bgan.cli.app", "train", "--data", str(data), "--out", str(out)]
    return command + [part for setting in settings for part in ("--set", setting)]


def started(commands: list[list[str]], environments: list[dict[str, str]]) -> list[Process]:
    # As in a shell: not a process that something else has already counted.
    unset = ("RANK", "LOCAL_RANK", "WORLD_SIZE")
    base = {k: v for k, v in os.environ.items() if k not in unset} | {"OMP_NUM_THREADS": "1"}
    return [
        subprocess.Popen(
            [sys.executable, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**base, **environment},
        )
        for command, environment in zip(commands, environments, strict=True)
    ]


def together(commands: list[list[str]], environments: list[dict[str, str]]) -> str:
    """What processes that run at the same time say, which must end well."""
    said = ""
    for process in started(commands, environments):
        out, err = process.communicate(timeout=250)
        assert process.returncode == 0, err
        said += out
    return said


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def by_fabric(data: Path, out: Path) -> str:
    """One command; Lightning Fabric starts the second process."""
    return together([train(data, out, devices=2, batch_size=2)], [{}])


def by_torchrun(data: Path, out: Path) -> str:
    """Two machines, as torchrun sees them, with a process each."""
    launcher = ["-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    launcher += ["--master-addr=127.0.0.1", f"--master-port={free_port()}"]
    command = train(data, out, devices=1, batch_size=2, nodes=2)
    commands = [[*launcher, f"--node-rank={node}", *command] for node in range(2)]
    return together(commands, [{}, {}])


def by_slurm(data: Path, out: Path) -> str:
    """Two tasks on two nodes, by what srun tells each of them."""
    return together([train(data, out, devices=1, batch_size=2, nodes=2)] * 2, slurm_tasks())


def slurm_tasks() -> list[dict[str, str]]:
    """Environments of two tasks on two nodes."""
    return [
        {
            "SLURM_NTASKS": "2",
            "SLURM_NTASKS_PER_NODE": "1",
            "SLURM_NNODES": "2",
            "SLURM_JOB_NAME": "train",
            "SLURM_JOB_ID": "1",
            "SLURM_PROCID": str(task),
            "SLURM_NODEID": str(task),
            "SLURM_LOCALID": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        for port in [free_port()]
        for task in range(2)
    ]


@pytest.fixture(scope="module")
def alone(phantoms, tmp_path_factory) -> Path:
    """What one process learns from twice the batch."""
    run = tmp_path_factory.mktemp("alone") / "run"
    together([train(phantoms, run, devices=1, batch_size=4)], [{}])
    return run


@pytest.mark.parametrize("start", [by_fabric, by_torchrun, by_slurm])
def test_two_processes_learn_what_one_does_with_twice_the_batch(start, alone, phantoms, tmp_path):
    both = tmp_path / "two"
    said = start(phantoms, both)
    assert said.count("6 steps in") == 1  # one of the two speaks
    assert (both / "selection.json").exists()
    for network in ("translator", "translator_ema", "discriminator"):
        one, two = (
            load_file(run / f"checkpoints/step-00000006/{network}.safetensors")
            for run in (alone, both)
        )
        for name, values in one.items():
            np.testing.assert_allclose(two[name], values, rtol=1e-6, atol=2e-6, err_msg=name)
    one, two = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        for run in (alone, both)
    )
    assert [line["step"] for line in two] == [2, 4, 6]
    for ours, theirs in zip(two, one, strict=True):
        for name in theirs.keys() - {"seconds", "steps_per_second"}:
            assert ours[name] == pytest.approx(theirs[name], abs=2e-4), name


def test_a_signal_to_one_process_ends_both_after_the_same_step(phantoms, tmp_path):
    command = train(phantoms, tmp_path / "run", devices=1, batch_size=2, nodes=2)
    command += ["--set", "train.steps=100000", "--set", "train.logger=tensorboard"]
    processes = started([command] * 2, slurm_tasks())
    metrics = tmp_path / "run/metrics.jsonl"
    while not (metrics.exists() and metrics.read_text().count("\n") > 2):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.1)
    processes[1].send_signal(signal.SIGTERM)  # not the one that writes
    errors = [process.communicate(timeout=100)[1] for process in processes]
    assert processes[0].returncode == 130, errors
    assert "Traceback" not in "".join(errors)
    assert "go on with" in errors[0]
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    written = sorted((tmp_path / "run/checkpoints").iterdir())
    assert int(written[-1].name.removeprefix("step-")) - last in (0, 1)
    assert len(list((tmp_path / "run/tensorboard").iterdir())) == 1
