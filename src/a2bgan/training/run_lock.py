"""One process at a time changes a run: it trains, selects or calibrates."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from a2bgan.errors import InputError

LOCK, HOLDER = "run.lock", "run.holder"


@contextmanager
def run_lock(path: Path, doing: str) -> Iterator[None]:
    """Hold the lock of the run in a folder until the block ends; the system ends it with a process.

    doing: such as "train", for the message to whoever comes next. A file system without locks
    counts as unlocked. Raises InputError if another process holds it, or it cannot be made.
    """
    lock = FileLock(path / LOCK, timeout=0)
    holder = path / HOLDER
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{path}: {_held_by(holder)}; wait until it has ended, or end it"
        ) from None
    except NotImplementedError:
        yield
        return
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None
    try:
        with suppress(OSError):
            holder.write_text(json.dumps({"pid": os.getpid(), "doing": doing}))
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _held_by(holder: Path) -> str:
    try:
        known = json.loads(holder.read_text())
        return f"`a2bgan {known['doing']}` is at work on it (process {int(known['pid'])})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process is at work on it"
