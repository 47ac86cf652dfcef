"""The cache folder: its place, its permissions, and the space on its disk."""

import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs

from a2bgan.errors import InputError


def default_cache_dir() -> Path:
    """$A2BGAN_CACHE, or the place this system keeps caches of a user."""
    chosen = os.environ.get("A2BGAN_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("a2bgan"))


def private_folder(folder: Path) -> Path:
    """The folder, made readable by its owner alone where it is not there yet. Raises OSError."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def reserve(file: Path) -> None:
    """Give a sparse file its space now: writing to a map of one on a full disk kills the process.

    Raises OSError where there is too little.
    """
    if sys.platform == "win32" or not hasattr(os, "posix_fallocate"):
        return
    with file.open("r+b") as opened:
        try:
            os.posix_fallocate(opened.fileno(), 0, os.fstat(opened.fileno()).st_size)
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):  # not supported
                raise


def require_space(folder: Path, needed: int, what: str) -> None:
    """Raise InputError unless a folder's disk has room for ``needed`` more bytes of ``what``."""
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the {what} need {needed / 1e6:,.0f} MB and only "
            f"{free / 1e6:,.0f} MB are free; set A2BGAN_CACHE to a folder on a larger disk"
        )


@contextmanager
def cache_errors_named(root: Path) -> Iterator[None]:
    """Have an OSError in the block say, as InputError, which folder to set A2BGAN_CACHE for."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{root}: the cache folder cannot be used ({error.strerror or error}); "
            "set A2BGAN_CACHE to a folder that can be written"
        ) from None
