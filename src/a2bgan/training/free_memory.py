"""How much memory this process can still take."""

import math
import os
import sys
from pathlib import Path

import torch

_CGROUP = Path("/sys/fs/cgroup")


def free_memory() -> int:
    """Bytes that can be allocated before the machine swaps or the process is killed.

    Linux: what the kernel holds for available, within the limit of a container (cgroup v2).
    Windows: what is available. Elsewhere: half of the machine's memory.
    """
    if sys.platform == "win32":
        import psutil

        return int(psutil.virtual_memory().available)
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free = 1024 * int(line.split()[1])
    except OSError:
        return free
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        if limit != "max":
            free = min(free, int(limit) - int((_CGROUP / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # not in a container, or of the older kind
    return max(free, 0)


def free_memory_of_gpu(device: torch.device) -> float:
    """Bytes that can be allocated on a GPU; infinitely many on a device without its own memory."""
    if device.type != "cuda":
        return math.inf
    return float(torch.cuda.mem_get_info(device)[0])
