"""Keep freed memory, so that every step does not ask the system for it again."""

import ctypes
import sys

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt``, see mallopt(3)."""


def keep_freed_memory() -> None:
    """Have glibc serve large blocks from memory that was freed before.

    By default it gives each large block back to the system, and a training step on a CPU spends up
    to a third of its time on pages that are mapped anew. Elsewhere than on glibc nothing happens.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return  # another C library
    mallopt(M_MMAP_MAX, 0)
    mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
    mallopt(M_TOP_PAD, 2**28)
