"""Index of the contents of a set's files: hashes, computed again only where a file has changed.

An index is a file `SET.json` with the size, modification time and hash of each file; SET is a
digest of the absolute paths, and no file name is stored.
"""

import hashlib
import json
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from a2bgan import extensions
from a2bgan.data.formats.kinds import KIND_OF_SUFFIX, image_suffix
from a2bgan.data.formats.picture import ImageError, open_image_file
from a2bgan.data.formats.reading import find_reader
from a2bgan.data.formats.slice_names import fragment_of, volume_of
from a2bgan.files.atomic import write_atomically
from a2bgan.files.ordered_work import read_in_order


class Content(NamedTuple):
    """Content of a file: the hash of its bytes, or the reason why it cannot be opened.

    suffix: how it is read: the suffix, of a slice its place, and, where another package reads it,
        that package and its version.
    state: see `file_state`, when it was hashed or known to be as it was.
    """

    sha256: str | None
    suffix: str
    state: list[int] | None
    reason: str

    @property
    def size(self) -> int:
        """Size in bytes, 0 where it is unknown."""
        return self.state[0] if self.state else 0


def contents_of(paths: Sequence[Path], folder: Path) -> list[Content]:
    """Hash the files, except those whose size and modification time are as at the last time.

    folder: where the index is kept.
    """
    absolute = [os.path.abspath(path) for path in paths]
    digest = hashlib.sha256("\0".join(absolute).encode("utf-8", "backslashreplace"))
    index_file = folder / f"{digest.hexdigest()}.json"
    files = [volume_of(path) for path in absolute]
    # Slices of a volume are one file, looked at once.
    states = {file: file_state(file) for file in dict.fromkeys(files)}
    found: dict[str, tuple[str | None, str]] = {
        file: (entry[1], "")
        for file, entry in zip(files, _read_index(index_file, len(paths)), strict=True)
        if entry is not None and (state := states[file]) is not None and entry[0] == state[:2]
    }
    changed = [file for file in states if file not in found]
    sizes = [state[0] if (state := states[file]) else 0 for file in changed]
    hashed = read_in_order(lambda file: _hash_file(Path(file)), changed, sizes)
    found |= dict(zip(changed, hashed, strict=True))
    if any(states[file] is not None for file in changed):
        # Of a file that changed meanwhile it is not known what was hashed.
        unsteady = {file for file in changed if file_state(file) != states[file]}
        rows = [
            [state[:2], found[file][0]]
            if found[file][0] and file not in unsteady and (state := states[file]) is not None
            else None
            for file in files
        ]
        write_atomically(index_file, json.dumps(rows))
    suffixes = [image_suffix(Path(file)) for file in files]
    readers = {suffix: _added_reader(suffix) for suffix in set(suffixes)}
    contents = []
    for path, file, suffix in zip(paths, files, suffixes, strict=True):
        sha256, reason = found[file]
        way = suffix + fragment_of(path) + readers[suffix]
        contents.append(Content(sha256, way, states[file], reason))
    return contents


def _added_reader(suffix: str) -> str:
    """The package that adds the reader of a suffix, and its version; "" for this one's own."""
    if suffix in KIND_OF_SUFFIX:
        return ""
    return extensions.provider(extensions.READER_GROUP, suffix[1:])


def file_state(path: str) -> list[int] | None:
    """Size in bytes of a file, or of all in a folder, a number that changes with what is in it, and
    the time of the last change to it, even one that set the first two back; None where unknown.

    The time also changes where permissions or links do, so that only the first two are stored.
    """
    try:
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):  # a DICOM series
            found = [(e.name, e.stat()) for e in os.scandir(path) if e.is_file()]
            entries = sorted((name, of.st_size, of.st_mtime_ns) for name, of in found)
            digest = hashlib.sha256(repr(entries).encode(errors="backslashreplace")).digest()
            size = sum(of.st_size for _, of in found)
            latest = max((of.st_ctime_ns for _, of in found), default=0)
            return [size, int.from_bytes(digest[:8]), latest]
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]


def _hash_file(path: Path) -> tuple[str | None, str]:
    try:
        find_reader(path)  # refuses unknown formats
        if os.path.isdir(path):
            digest = hashlib.sha256()
            for part in sorted(entry for entry in path.iterdir() if entry.is_file()):
                digest.update((_hash_file(part)[0] or "").encode())
            return digest.hexdigest(), ""
        with open_image_file(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except ImageError as error:
        return None, str(error)
    except OSError:
        return None, "cannot be read (input/output error)"


def _read_index(index_file: Path, count: int) -> list[Any]:
    try:
        rows = json.loads(index_file.read_bytes())
        intact = len(rows) == count and all(
            row is None or (isinstance(row[0], list) and len(row[1]) == 64) for row in rows
        )
        return rows if intact else [None] * count
    except (OSError, ValueError, TypeError, IndexError, KeyError):
        return [None] * count
