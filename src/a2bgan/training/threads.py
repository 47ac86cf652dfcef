"""Processor threads of a training: no more than there are cores that other programs leave idle.

Threads share every operation and wait for each other after it. One whose core another program keeps
busy makes all the others wait, so that two threads can be twenty times as slow as one.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

SAMPLE_SECONDS = 1.0

CGROUPS = Path("/sys/fs/cgroup")


@contextmanager
def threads_for_training(recorded: Any, processes: int = 1) -> Iterator[int]:
    """Have PyTorch use as many threads as pay in the block; yields their number.

    processes: that share the cores. The others, which the first one starts in the block, take its
    number of threads from OMP_NUM_THREADS.

    recorded: number of threads that a training began with, which is kept where it goes on: on a CPU
    others add up in another order, and give other last digits.

    What the user has set by OMP_NUM_THREADS holds.
    """
    before = torch.get_num_threads()
    most = max(1, before // processes)
    set_by_user = bool(os.environ.get("OMP_NUM_THREADS"))
    if set_by_user:
        chosen = before
    elif most == 1:
        chosen = 1
    elif isinstance(recorded, int) and 1 <= recorded <= most:
        chosen = recorded
    else:
        chosen = max(1, min(most, idle_cores() // processes))
    torch.set_num_threads(chosen)
    if processes > 1 and not set_by_user:
        os.environ["OMP_NUM_THREADS"] = str(chosen)
    try:
        yield chosen
    finally:
        torch.set_num_threads(before)
        if processes > 1 and not set_by_user:
            os.environ.pop("OMP_NUM_THREADS", None)


def idle_cores() -> int:
    """Number of cores of this process, or of its quota, that were idle in the last moment."""
    import psutil

    cores = os.sched_getaffinity(0) if sys.platform == "linux" else range(os.cpu_count() or 1)
    busy = psutil.cpu_percent(interval=SAMPLE_SECONDS, percpu=True)
    idle: float = sum(1 - busy[core] / 100 for core in cores if core < len(busy))
    return min(round(idle), _quota(), len(cores))


def _quota() -> int:
    """Cores that a container's quota amounts to; very many where there is none."""
    try:
        own = Path("/proc/self/cgroup").read_text().partition("::")[2].strip()
    except OSError:
        own = ""
    for file in (CGROUPS / own.lstrip("/") / "cpu.max", CGROUPS / "cpu.max"):
        try:
            most, period = file.read_text().split()
            return max(1, int(most) // int(period))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return 2**31
