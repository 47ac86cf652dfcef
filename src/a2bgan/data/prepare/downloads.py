"""The files of a download: those in folders, and those in archives as if they were unpacked."""

import lzma
import os
import posixpath
import shutil
import tarfile
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import IO, cast

from a2bgan.errors import InputError

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")

DEEPEST_ARCHIVE = 2
"""Archives in archives are entered, those in them are not."""

LARGEST_FILE = 1 << 29
"""Bytes; no image and no table of the known sets comes near."""

# (name as if unpacked, bytes, opener)
_Member = tuple[str, int, Callable[[], IO[bytes]]]


class Download:
    """The files below a folder, or in one archive, by name.

    A name is a path relative to `root`, with forward slashes. A file in a zip or tar archive has
    the name it would have if the archive were unpacked where it lies; where it has been, the
    unpacked file counts. Hidden files are left out. Nothing is written to `root`.

    Raises InputError when `root` is not there, when an archive cannot be read, or when a member's
    name leads out of its folder or its size is absurd.
    """

    def __init__(self, root: Path) -> None:
        if not root.exists():
            raise InputError(f"{root}: no such folder; give the folder of the download as --root")
        self.root = root
        self._plain: dict[str, Path] = {}
        self._packed: dict[str, tuple[Path, int]] = {}
        found = list(_files_below(root)) if root.is_dir() else [(root.name, root)]
        for name, path in found:
            if not _is_archive(name):
                self._plain[name] = path
        for name, path in found:
            if _is_archive(name):
                with _readable(path):
                    for inner, size, _ in _walk_archive(path, name, path, 1):
                        if inner not in self._plain:
                            self._packed.setdefault(inner, (path, size))
        self.names = [*sorted(self._plain), *sorted(self._packed)]

    def find_one(self, patterns: tuple[str, ...], expected: str) -> str:
        """The one file whose last part fits the first of `patterns` that any file fits.

        patterns: as for fnmatch. expected: the layout, for the message.
        Raises InputError when none fits, or several do.
        """
        for pattern in patterns:
            found = [n for n in self.names if fnmatchcase(posixpath.basename(n), pattern)]
            if len(found) > 1:
                raise InputError(
                    f"{self.root}: {len(found)} files {pattern}, such as {found[0]} and "
                    f"{found[1]}; give a folder that has one of them as --root"
                )
            if found:
                return found[0]
        raise InputError(f"{self.root}: no {patterns[0]}; expected {expected}")

    def read_text(self, name: str) -> str:
        """The text of one file. Raises InputError when it cannot be read or is not UTF-8."""
        try:
            data = self._plain[name].read_bytes() if name in self._plain else self._unpacked(name)
            return data.decode("utf-8-sig")
        except OSError as error:
            raise InputError(f"{self.root}, {name}: cannot be read ({error.strerror})") from None
        except UnicodeDecodeError:
            raise InputError(f"{self.root}, {name}: not UTF-8 text; get the file again") from None

    def place(self, targets: Mapping[str, Path]) -> None:
        """Make the files `targets`, from name to path; their folders are made.

        Plain files become hard links where the file system allows it, which costs no space, and
        copies elsewhere. Raises InputError, and leaves what it has made, when a file cannot be
        written or the disk is too small for what has to be unpacked.
        """
        packed: dict[Path, dict[str, Path]] = defaultdict(dict)
        needed = 0
        for name, target in targets.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            if name in self._plain:
                _link_or_copy(self._plain[name], target)
            else:
                archive, size = self._packed[name]
                packed[archive][name] = target
                needed += size
        if packed and needed > (free := shutil.disk_usage(target.parent).free):
            raise InputError(
                f"{self.root}: {needed >> 20} MB to unpack, {free >> 20} MB free; "
                "choose an --out on another disk"
            )
        for archive, wanted in packed.items():
            with _readable(archive):
                for name, _, open_member in self._members(archive):
                    if member_target := wanted.pop(name, None):
                        with open_member() as source, member_target.open("xb") as file:
                            shutil.copyfileobj(source, file)
                    if not wanted:
                        break

    def _unpacked(self, name: str) -> bytes:
        archive, _ = self._packed[name]
        with _readable(archive):
            for member, _, open_member in self._members(archive):
                if member == name:
                    with open_member() as source:
                        return source.read()
        raise InputError(f"{archive}: {name} has gone; do not change archives while they are read")

    def _members(self, archive: Path) -> Iterator[_Member]:
        inside = archive.relative_to(self.root).as_posix() if archive != self.root else archive.name
        return _walk_archive(archive, inside, archive, 1)


@contextmanager
def _readable(archive: Path) -> Iterator[None]:
    """Turn errors in reading an archive into an InputError."""
    try:
        yield
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError) as error:
        raise InputError(f"{archive}: damaged archive ({error}); get it again") from None
    except RuntimeError as error:  # encrypted, or an unknown compression
        raise InputError(f"{archive}: cannot be unpacked ({error}); unpack it yourself") from None
    except OSError as error:
        reason = error.strerror or error
        raise InputError(f"{archive}: cannot be unpacked ({reason})") from None


def _is_archive(name: str) -> bool:
    return name.lower().endswith(ARCHIVES)


def _hidden(part: str) -> bool:
    return part.startswith(".") or part == "__MACOSX"


def _files_below(root: Path) -> Iterator[tuple[str, Path]]:
    entered: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        # Links to folders are followed, but not in circles.
        real = os.path.realpath(folder)
        folders[:] = sorted(f for f in folders if not _hidden(f)) if real not in entered else []
        for file in sorted(files) if real not in entered else ():
            if not _hidden(file):
                path = Path(folder, file)
                yield path.relative_to(root).as_posix(), path
        entered.add(real)


def _walk_archive(file: Path | IO[bytes], name: str, top: Path, depth: int) -> Iterator[_Member]:
    """Every file in an archive, in the order in which they are stored, nested ones included."""
    beside = posixpath.dirname(name)
    with _opened(file, name) as archive:
        for inner, size, open_member in _stored(archive):
            parts = inner.replace("\\", "/").split("/")
            if not parts[0] or ".." in parts or inner[1:2] == ":" or not inner.isprintable():
                raise InputError(
                    f"{top}: member {inner!r} has no safe name; get the archive from its source"
                )
            if any(_hidden(part) for part in parts if part != "."):
                continue
            place = posixpath.normpath(posixpath.join(beside, *parts))
            if _is_archive(inner) and depth < DEEPEST_ARCHIVE:
                with open_member() as stream:
                    yield from _walk_archive(stream, place, top, depth + 1)
            elif size > LARGEST_FILE:
                raise InputError(
                    f"{top}: member {inner!r} is {size >> 20} MB large; no image is, so it is left"
                )
            else:
                yield place, size, open_member


@contextmanager
def _opened(file: Path | IO[bytes], name: str) -> Iterator[zipfile.ZipFile | tarfile.TarFile]:
    if name.lower().endswith(".zip"):
        with zipfile.ZipFile(file) as zipped:
            yield zipped
    elif isinstance(file, Path):
        with tarfile.open(file) as archive:
            yield archive
    else:
        with tarfile.open(fileobj=file) as archive:
            yield archive


def _stored(archive: zipfile.ZipFile | tarfile.TarFile) -> Iterator[_Member]:
    # In stored order: compressed streams are slow to read backwards.
    if isinstance(archive, zipfile.ZipFile):
        for info in sorted(archive.infolist(), key=lambda info: info.header_offset):
            if not info.is_dir():
                yield info.filename, info.file_size, partial(archive.open, info)
        return
    for member in archive:
        if member.isfile():  # links lead elsewhere
            opener = partial(archive.extractfile, member)
            yield member.name, member.size, cast(Callable[[], IO[bytes]], opener)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(os.path.realpath(source), target)
    except OSError:
        try:
            shutil.copyfile(source, target)
        except OSError as error:
            raise InputError(f"{source}: cannot be copied ({error.strerror})") from None
