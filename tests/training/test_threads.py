"""How many threads a training has, beside other programs and where it goes on."""

import os
import sys
from pathlib import Path

import psutil
import pytest
import torch

from a2bgan.training import threads
from a2bgan.training.config import load_config
from a2bgan.training.loop import processes_here
from a2bgan.training.threads import idle_cores, threads_for_training

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks for affinity and quota")


@pytest.fixture(autouse=True)
def four_threads(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A machine of eight cores, four of them this process's, of which so many are idle."""
    idle = [4.0]

    def cpu_percent(interval: float, percpu: bool) -> list[float]:
        return [100 - 25 * idle[0]] * 8

    monkeypatch.setattr(psutil, "cpu_percent", cpu_percent)
    monkeypatch.setattr(threads, "CGROUPS", tmp_path)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: {0, 1, 2, 3}, raising=False)

    def set_idle(cores: float) -> Path:
        idle[0] = cores
        return tmp_path

    return set_idle


@pytest.mark.parametrize(
    ("idle", "expected"), [(4, 4), (3.9, 4), (3, 3), (2.2, 2), (0.9, 1), (0, 1)]
)
def test_there_are_no_more_threads_than_idle_cores(machine, idle, expected):
    machine(idle)
    with threads_for_training(None) as chosen:
        assert chosen == torch.get_num_threads() == expected
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize(("idle", "expected"), [(4, 2), (3, 1), (1, 1)])
def test_processes_share_the_idle_cores(machine, idle, expected):
    machine(idle)
    with threads_for_training(None, processes=2) as chosen:
        assert chosen == torch.get_num_threads() == expected
        assert os.environ["OMP_NUM_THREADS"] == str(expected)  # for those started here
    assert torch.get_num_threads() == 4
    assert "OMP_NUM_THREADS" not in os.environ


@pytest.mark.parametrize(("devices", "expected"), [(1, 1), ("auto", 1), (2, 2)])
def test_processes_are_counted_before_they_are_started(devices, expected):
    settings = ["train.accelerator=cpu", f"train.devices={devices}"]
    assert processes_here(load_config("fast", None, settings).train) == expected


def test_a_training_goes_on_with_as_many_as_it_began_with(machine):
    machine(1)
    with threads_for_training(3) as chosen:
        assert chosen == torch.get_num_threads() == 3
    for unusable in (9, 0, "three", None):
        with threads_for_training(unusable) as chosen:
            assert chosen == 1


def test_what_the_user_has_set_holds(machine, monkeypatch):
    machine(1)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    with threads_for_training(2) as chosen:
        assert chosen == torch.get_num_threads() == 4


def test_a_quota_of_a_container_holds(machine):
    folder = machine(4)
    for text, cores in (("200000 100000", 2), ("50000 100000", 1), ("max 100000", 4)):
        (folder / "cpu.max").write_text(text)
        assert idle_cores() == cores
