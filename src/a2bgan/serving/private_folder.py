"""The folder of a reading room or a DICOM node, and the lock that one server holds."""

import errno
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from a2bgan.errors import InputError
from a2bgan.files.links import refuse_links


@contextmanager
def open_private(folder: Path, what: str, option: str) -> Iterator[Path]:
    """A folder that is this process's alone until the block ends; made if it is not there.

    what, option: who uses it and how another is chosen, for the messages.

    Only its owner can read it, see `make_private`: it holds images and identifiers. The kernel
    lets go of the lock when a process dies. Raises InputError if the folder cannot be used or
    another server has it.
    """
    if folder.is_symlink():
        raise InputError(f"{folder}: a link; choose a folder with {option}")
    if folder.is_dir():
        refuse_links(folder)
    try:
        make_private(folder)
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be used ({error.strerror}); choose another place with {option}"
        ) from None
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except (Timeout, OSError, NotImplementedError) as error:
        taken = isinstance(error, Timeout)
        why = f"another {what} is open here; end it" if taken else "it cannot be locked"
        raise InputError(f"{folder}: {why}, or choose another {option}") from None
    with lock:
        for partial in folder.glob(".*.partial-*"):  # of a process that was killed
            if partial.is_dir():
                shutil.rmtree(partial, ignore_errors=True)
            else:
                partial.unlink(missing_ok=True)
        yield folder


def make_private(folder: Path) -> None:
    """A folder that its owner alone can read, made if it is not there; one that is there loses
    the rights of others. Raises OSError, also for one that is meant for all users, like /tmp."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    mode = folder.stat().st_mode
    if mode & stat.S_ISVTX:
        raise OSError(errno.EPERM, "it is a folder for all users")
    if mode & 0o077:
        try:
            folder.chmod(0o700)
        except OSError as error:
            why = "others can read it, and that cannot be changed"
            raise OSError(error.errno, why) from None


def inside(folder: Path, path: Path) -> Path | None:
    """The file that a path stands for if it lies in the folder, links followed; else None."""
    real = Path(os.path.realpath(path))
    return real if real.is_file() and real.is_relative_to(os.path.realpath(folder)) else None
