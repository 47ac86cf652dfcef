"""Measure the cache and make room in it: entries used longest ago go first.

What a process has open stays readable to it when it is removed.
"""

import json
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from a2bgan.errors import InputError
from a2bgan.files.building_folder import remove_in_one_step

IMAGES, FEATURES, CONTENT = "images", "features", "content"
"""Folders of the cache: lists of preprocessed images, their features, and indexes of contents."""

DEFAULT_LIMIT = 100 * 10**9
LIMIT_VARIABLE = "A2BGAN_CACHE_LIMIT"

JUST_USED_SECONDS = 60
"""An entry used so lately is left alone: a process may be about to open it."""

_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}


class Stored(NamedTuple):
    """An entry of the cache: its folder, its kind (IMAGES or FEATURES), its size in bytes, and when
    it was last used."""

    folder: Path
    kind: str
    size: int
    used: float

    def count_images(self) -> int:
        """Number of images in a list of images; 0 where it cannot be read."""
        try:
            return len(json.loads((self.folder / "entry.json").read_bytes())["index"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0


def stored_entries(root: Path) -> list[Stored]:
    """The complete entries below a cache folder, the one used longest ago first."""
    found = []
    for kind in (IMAGES, FEATURES):
        for folder in _folders(root / kind):
            with suppress(OSError):  # another process removes it
                size = sum(file.stat().st_size for file in folder.iterdir())
                found.append(Stored(folder, kind, size, folder.stat().st_mtime))
    return sorted(found, key=lambda entry: entry.used)


def prune(root: Path, most: int, keep: Sequence[Path] = ()) -> int:
    """Remove entries until the rest takes at most so many bytes; returns the bytes removed.

    keep: entries that stay. One used in the last minute stays too.
    """
    entries = stored_entries(root)
    excess = sum(entry.size for entry in entries) - most
    removed = 0
    for entry in entries:
        if removed >= excess:
            break
        if entry.folder not in keep and time.time() - entry.used > JUST_USED_SECONDS:
            remove_in_one_step(entry.folder)
            removed += entry.size
    return removed


def clear(root: Path) -> int:
    """Remove all but what is being built; returns the bytes of the entries."""
    entries = stored_entries(root)
    for entry in entries:
        remove_in_one_step(entry.folder)
    shutil.rmtree(root / CONTENT, ignore_errors=True)
    return sum(entry.size for entry in entries)


def mark_used(folder: Path) -> None:
    """Note that an entry is used now."""
    with suppress(OSError):
        os.utime(folder)


def cache_limit() -> int:
    """Bytes that `prune` leaves when images are added: $A2BGAN_CACHE_LIMIT, or 100 GB.

    Raises InputError for one that is no size.
    """
    chosen = os.environ.get(LIMIT_VARIABLE)
    return parse_size(chosen, LIMIT_VARIABLE) if chosen else DEFAULT_LIMIT


def parse_size(text: str, name: str) -> int:
    """Bytes of a size such as 500MB or 20GB. Raises InputError, with the name of what it is for."""
    found = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,3})?)\s*([KMGT]?B?)\s*", text.upper())
    unit = "" if found is None else found[2]
    unit = f"{unit}B" if unit in tuple("KMGT") else unit.removeprefix("B") or ""
    if found is None or unit not in _UNITS:
        raise InputError(f"{name}: {text!r} is not a size; give one such as 500MB or 20GB")
    return int(float(found[1]) * _UNITS[unit])


def _folders(parent: Path) -> Iterator[Path]:
    """Complete entries; those under construction are hidden."""
    with suppress(OSError):
        for folder in sorted(parent.iterdir()):
            if not folder.name.startswith(".") and folder.is_dir() and not folder.is_symlink():
                yield folder
