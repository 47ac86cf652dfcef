"""Write a folder or a file so that it is there whole or not at all."""

import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from a2bgan.errors import InputError


@contextmanager
def atomic_folder(out: Path) -> Iterator[Path]:
    """Yield an empty folder beside `out` that becomes `out` when the block ends without error.

    After an error in the block nothing is left; after a killed process a hidden folder
    `.NAME.partial-*` beside `out` may be, never a half-written `out`.

    Raises InputError when `out` is a file or a folder with something in it (whatever it holds
    stays untouched), and when its parent cannot be written.
    """
    target = out.resolve()
    _require_free(out, target)
    partial = target.parent / f".{target.name}.partial-{uuid.uuid4().hex[:12]}"
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise InputError(
            f"{out}: cannot create the folder ({error.strerror}): choose another"
        ) from None
    try:
        yield partial
        _require_free(out, target)
        if target.exists():
            target.rmdir()  # empty; a rename does not replace a folder on every system
        sync(partial)
        os.rename(partial, target)
        sync(target.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def atomic_file(file: Path, *, private: bool = False) -> Iterator[Path]:
    """Yield a path beside `file` to write to, which replaces it when the block ends without error.

    Who reads `file` meanwhile finds the old one, or none. After an error in the block nothing is
    left; after a killed process a hidden file `.NAME.partial-*` beside it may be. When the block
    has ended the file is on the disk, even if the machine stops. A link is replaced, not what it
    leads to. Raises OSError.

    private: the file is there when the block begins, and its owner alone may read it.
    """
    target = file.absolute()
    # Shortened: a name may be as long as the file system allows.
    partial = target.parent / f".{target.name[:50]}.partial-{uuid.uuid4().hex[:12]}"
    try:
        if private:
            partial.touch(mode=0o600, exist_ok=False)
        yield partial
        sync(partial)
        os.replace(partial, target)
        sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(file: Path, text: str, *, private: bool = False) -> None:
    """Write a text file in UTF-8, as `atomic_file` does. Raises OSError."""
    with atomic_file(file, private=private) as partial:
        partial.write_text(text, encoding="utf-8", newline="")


def sync(path: Path) -> None:
    """Return when a file's content, or the names in a folder, are on the disk. Raises OSError, such
    as for a disk that is full."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _require_free(out: Path, target: Path) -> None:
    if not target.exists():
        return
    if not target.is_dir():
        raise InputError(f"{out}: is a file: choose a folder that does not exist yet")
    if any(target.iterdir()):
        raise InputError(f"{out}: is not empty: choose another folder, or empty it first")
