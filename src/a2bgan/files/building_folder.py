"""A folder under construction, beside complete ones, which another process can go on with after its
own was killed.

A lock on the folder, which ends with its process, tells one that is left from one in use.
"""

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TypeVar

from a2bgan.errors import InputError

if sys.platform != "win32":
    import fcntl

Entry = TypeVar("Entry")

PREFIX = ".building-"

# Folders that killed processes left are removed after this long.
ABANDONED_AFTER_SECONDS = 24 * 3600


@contextmanager
def building_folder(entries: Path, key: str, notes: str) -> Iterator[Path]:
    """Yield a folder to build an entry in: what a killed process left of it, or a new one.

    notes: the file in it that says how far a process has come. The folder is gone after the block,
    unless that was interrupted and the file is there. Of several processes the others wait for the
    one that builds; where there are no locks every process has a folder of its own.
    """
    folder = entries / f"{PREFIX}{key}"
    while True:
        folder.mkdir(mode=0o700, exist_ok=True)
        try:
            lock = _lock_folder(folder, wait=True)
            break
        except FileNotFoundError:  # the process waited for has finished
            continue
    if lock is None:
        with suppress(OSError):
            folder.rmdir()
        folder = Path(tempfile.mkdtemp(prefix=f"{folder.name}-", dir=entries))
    interrupted = False
    try:
        yield folder
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        kept = interrupted and (folder / notes).exists()
        # Once it is moved into place another process may have made one of the same name.
        if not kept and (lock is None or _is_at(lock, folder)):
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            _unlock(lock)


def remove_abandoned(entries: Path) -> None:
    """Remove what killed processes left, unless a process may still go on with it."""
    for folder in entries.glob(f"{PREFIX}*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                # One that takes more than a day to fill is locked, which is an OSError.
                lock = _lock_folder(folder, wait=False)
                shutil.rmtree(folder, ignore_errors=True)
                if lock is not None:
                    _unlock(lock)


def move_into_place(
    built: Path,
    folder: Path,
    opened: Callable[[], Entry | None],
    opened_others: Callable[[], Entry | None],
) -> Entry:
    """Move a built folder to where it belongs, or use what another process put there first.

    opened, opened_others: open what stands at ``folder``, just built or another's; None where it is
    damaged, and then replaced.

    Raises InputError where it is damaged each time, and OSError where it cannot be moved.
    """
    for _ in range(3):
        try:
            os.rename(built, folder)
            entry = opened()
        except OSError:
            if not folder.exists():
                raise
            entry = opened_others()
        if entry is not None:
            return entry
        remove_in_one_step(folder)  # what stands there is damaged or outdated
    raise InputError(f"{folder}: what is stored is damaged again and again; check the disk")


def replace_folder(built: Path, folder: Path) -> None:
    """Move a built folder to where an older one may stand, which is then removed.

    Raises OSError where it cannot be moved; the older one is then where it was.
    """
    away = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder.parent))
    with suppress(FileNotFoundError):
        os.rename(folder, away / "old")
    try:
        os.rename(built, folder)
    except OSError:
        with suppress(FileNotFoundError):
            os.rename(away / "old", folder)
        away.rmdir()
        raise
    shutil.rmtree(away, ignore_errors=True)


def remove_in_one_step(folder: Path) -> None:
    """Remove a complete folder, or a file in its place, so that nobody meets a part of it."""
    away = Path(tempfile.mkdtemp(prefix=PREFIX, dir=folder.parent))
    with suppress(FileNotFoundError):
        os.rename(folder, away / "entry")
    shutil.rmtree(away, ignore_errors=True)


def _lock_folder(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the folder's lock, for `_unlock`; None where there are no locks.

    Raises BlockingIOError when another process has it, unless it is to `wait`, and
    FileNotFoundError when the folder is gone.
    """
    if sys.platform == "win32":
        return None
    else:  # type checkers know no fcntl on Windows
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            # It may have been moved into place between finding and locking it.
            if not _is_at(descriptor, folder):
                raise FileNotFoundError(folder)
        except BaseException as error:
            os.close(descriptor)
            known = isinstance(error, BlockingIOError | FileNotFoundError)
            if isinstance(error, OSError) and not known:  # not every file system has locks
                return None
            raise
        return descriptor


def _is_at(descriptor: int, folder: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(folder))
    except FileNotFoundError:
        return False


def _unlock(lock: int) -> None:
    if sys.platform != "win32":
        # Closing alone would leave it to a child process that was forked meanwhile.
        with suppress(OSError):
            fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
