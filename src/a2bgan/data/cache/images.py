"""Decode and preprocess each image once; then read a list of them from one memory-mapped array.

Below the cache folder:
    images/<way>-<key>/images.npy   the preprocessed images, (N, C, H, W)
    images/<way>-<key>/entry.json   row numbers, failures by row number, which of them may pass,
                                    contents, original sizes, a checksum
    content/<set>.json              the index of the originals' contents, see `content_index`

`way` is a digest of the preprocessing and `key` one of it and the contents, in order, so a changed
file or option never meets an old array. A new list takes the pixels of what any list of the same
preprocessing has, and decodes the rest alone; lists that it holds all images of are removed then.
While sizes and modification times stand, a later start reads no original. No file name is stored
anywhere.
"""

import hashlib
import json
import os
import time
import warnings
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from a2bgan.data.cache.content_index import Content, contents_of, file_state
from a2bgan.data.cache.folder import (
    cache_errors_named,
    default_cache_dir,
    private_folder,
    require_space,
    reserve,
)
from a2bgan.data.cache.space import JUST_USED_SECONDS, cache_limit, mark_used, prune
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.formats.slice_names import fragment_of, parse_slice, volume_of
from a2bgan.data.preprocessing import preprocess
from a2bgan.errors import InputError
from a2bgan.files.building_folder import (
    PREFIX,
    building_folder,
    move_into_place,
    remove_abandoned,
    remove_in_one_step,
)
from a2bgan.files.ordered_work import read_in_order

# Raise it when readers or preprocessing give other pixels for the same options.
FORMAT_VERSION = 5

# Decoded images between two notes of what has been decoded, and where those are.
NOTED_TOGETHER = 256
NOTES = "decoded.jsonl"

PREPROCESSED = "preprocessed images"

# The memory-mapped images and the text stored beside them.
_Entry = tuple[np.ndarray, dict[str, Any]]


class Failure(NamedTuple):
    """An image that could not be used, and why, in a few words."""

    name: str
    reason: str


class _Passing(str):
    """The reason of a failure that may not be there another time."""


class _FileChangedError(Exception):
    """A file changed between its hash and the end of its decoding."""


class StoredForm(NamedTuple):
    """Form of an image before preprocessing: pixels, channels (1 or 3), bits a channel."""

    height: int
    width: int
    channels: int
    bits: int


@dataclass(frozen=True)
class CachedImages:
    """Preprocessed images, ready for training.

    images: read-only memory map, (N, C, H, W), uint8 or uint16.
    index: (N,) int64; for each image the position of its file among the paths given.
    failures: the files that are missing from `images`, in the order given.
    originals: one for each image.
    content: for each path given the SHA-256 of the file's bytes, of a slice with its place, None
        for a file that could not be read at all. Equal ones are byte-identical files.
    """

    images: np.ndarray
    index: np.ndarray
    failures: list[Failure]
    originals: list[StoredForm]
    content: list[str | None]


def load_images(
    paths: Sequence[Path],
    names: Sequence[str],
    config: DataConfig,
    cache_dir: Path | None = None,
    watch: Callable[[int], object] | None = None,
) -> CachedImages:
    """Load images from the cache, filling it first where needed.

    paths, names: the files and what to call them in failures, one name for each path.
    cache_dir: `default_cache_dir()` when None; created readable by its owner alone.
    watch: called with the number of images decoded so far, after each.

    Files that cannot be used become failures, never an exception; those that failed for want of
    memory, a decoder or the disk are tried again at the next start. A file whose size or
    modification time changed is read again; where a process was killed, the next one goes on. Of
    several processes at once one does the work and the others wait for it. Raises InputError when
    the cache folder cannot be written or its disk is too full.
    """
    if len(paths) != len(names):
        raise ValueError(f"{len(paths)} paths but {len(names)} names")
    root = default_cache_dir() if cache_dir is None else Path(cache_dir)
    with cache_errors_named(root):
        private_folder(root)
        contents, (images, entry) = _load_or_build(paths, config, root, watch)
    return CachedImages(
        images=images,
        index=np.array(entry["index"], dtype=np.int64),
        failures=[Failure(names[row], reason) for row, reason in entry["failures"]],
        originals=[StoredForm(*original) for original in entry["originals"]],
        content=[
            content.sha256 and content.sha256 + fragment_of(path)
            for content, path in zip(contents, paths, strict=True)
        ],
    )


def _load_or_build(
    paths: Sequence[Path],
    config: DataConfig,
    root: Path,
    watch: Callable[[int], object] | None,
) -> tuple[list[Content], _Entry]:
    entries, index_folder = private_folder(root / "images"), private_folder(root / "content")
    contents = contents_of(paths, index_folder)
    for _ in range(3):
        key = _entry_key(contents, config)
        stored = _usable_entry(entries / key, paths, config)
        if stored is not None:
            mark_used(entries / key)
            return contents, stored
        limit = cache_limit()
        remove_abandoned(entries)
        with building_folder(entries, key, NOTES) as building:
            # Another process may have finished while this one waited for the folder.
            stored = _usable_entry(entries / key, paths, config)
            if stored is not None:
                return contents, stored
            try:
                _build_entry(paths, contents, config, building, watch)
            except _FileChangedError:
                contents = contents_of(paths, index_folder)
                continue
            installed = _install_entry(building, entries / key, paths, config)
            _remove_contained(entries / key, installed[1]["contents"])
            prune(root, limit, [entries / key])
            return contents, installed
    raise InputError("image files change while they are read; start again when they are complete")


def _entry_key(contents: Sequence[Content], config: DataConfig) -> str:
    # Which slices there are is in the paths.
    options = config.model_dump(
        exclude={"window_low", "window_high", "volume_axis", "slices", "skip_empty", "series"}
    )
    if config.plain_window is None:
        del options["plain_window"]  # as before there was one
    if config.window in ("percentile", "fixed"):
        options["window_range"] = config.window_range
    # The reader is chosen by the suffix, so equal bytes can read differently.
    header = {"version": FORMAT_VERSION, "options": options}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    way = digest.hexdigest()[:16]
    for content in contents:
        digest.update(
            f"\n{content.sha256}{content.suffix}{content.reason}".encode(errors="backslashreplace")
        )
    return f"{way}-{digest.hexdigest()}"


def _lists_alike(folder: Path) -> list[Path]:
    """The other lists that were prepared in the same way as one, under construction or complete,
    the one used last first."""
    way = folder.name.removeprefix(PREFIX).partition("-")[0]
    others = [other for other in folder.parent.glob(f"{way}-*") if other != folder]
    used = {}
    for other in others:
        with suppress(OSError):  # another process removes it
            used[other] = other.stat().st_mtime
    return sorted(used, key=lambda other: -used[other])


def _remove_contained(folder: Path, contents: Sequence[str]) -> None:
    """Remove the lists whose images are all in this one too, unless they were used just now."""
    here = set(contents)
    for other in _lists_alike(folder):
        try:
            rested = time.time() - other.stat().st_mtime > JUST_USED_SECONDS
            theirs = json.loads((other / "entry.json").read_bytes())["contents"]
            contained = here.issuperset(theirs)
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if rested and contained:
            remove_in_one_step(other)


def _build_entry(
    paths: Sequence[Path],
    contents: Sequence[Content],
    config: DataConfig,
    building: Path,
    watch: Callable[[int], object] | None,
) -> None:
    """Decode everything that is not yet decoded into a folder beside the entries.

    Raises _FileChangedError where a file is not as it was before it was hashed: what was decoded
    may then be another content, even if the old one is back.
    """
    shape = (len(paths), config.channels, config.size, config.size)
    dtype = np.dtype(np.uint8 if config.depth == 8 else np.uint16)
    there = building / "images.npy"  # of a process that was killed
    allocated = 512 * getattr(there.stat(), "st_blocks", 0) if there.exists() else 0
    needed = int(np.prod(shape)) * dtype.itemsize - allocated
    # Writing to a memory map on a full disk kills the process, so look first.
    require_space(building, needed, PREPROCESSED)

    # Byte-identical files are decoded once: the first row of each content stands for the others.
    first_row: dict[tuple[str | None, str], int] = {}
    for row, content in enumerate(contents):
        if content.sha256 is not None:
            first_row.setdefault((content.sha256, content.suffix), row)

    images, decoded = _open_array(building, shape, dtype)
    _copy_decoded(images, first_row, decoded, building, config)

    def decode(row: int) -> StoredForm | str:
        try:
            with ALL_THREADS.one_image():
                picture = read_picture(paths[row], config.read_options)
                images[row] = preprocess(picture.values, config, picture.window)
        except PassingImageError as error:
            return _Passing(error)
        except ImageError as error:
            return str(error)
        return _stored_form(picture.values)

    def require_unchanged(rows: Iterable[int]) -> None:
        states = {volume_of(paths[row]): contents[row].state for row in rows}
        if any(file_state(file) != state for file, state in states.items()):
            _forget_volumes(paths)
            raise _FileChangedError

    rows = [row for row in first_row.values() if row not in decoded]
    sizes = [contents[row].size for row in rows]
    unnoted: dict[int, StoredForm | str] = {}
    with warnings.catch_warnings():
        # Pillow warns about damaged files; what matters is reported as a failure.
        warnings.simplefilter("ignore")
        for row, result in zip(rows, read_in_order(decode, rows, sizes), strict=True):
            unnoted[row] = result
            if watch is not None:
                watch(len(decoded) + len(unnoted))
            if len(unnoted) == NOTED_TOGETHER:
                require_unchanged(unnoted)
                images.flush()  # first, so that what is noted is there even if the machine stops
                _note_decoded(building, unnoted)
                decoded |= unnoted
                unnoted.clear()
    require_unchanged(unnoted)
    decoded |= unnoted
    _forget_volumes(paths)

    entry, sources = _describe(contents, first_row, decoded)
    if sources != list(range(len(paths))):
        needed = len(sources) * int(np.prod(shape[1:])) * dtype.itemsize
        require_space(building, needed, PREPROCESSED)
        images = _gather(images, sources, building)
    images.flush()
    entry["crc32"] = _checksum(images)
    (building / "entry.json").write_text(json.dumps(entry), encoding="utf-8")
    (building / NOTES).unlink(missing_ok=True)


def _copy_decoded(
    images: np.memmap,
    first_row: dict[tuple[str | None, str], int],
    decoded: dict[int, StoredForm | str],
    building: Path,
    config: DataConfig,
) -> None:
    """Take over the pixels that other lists have of the same contents; they are not noted, since
    the process that goes on after a killed one copies them again."""
    wanted = {
        f"{sha256}{suffix}": row
        for (sha256, suffix), row in first_row.items()
        if row not in decoded
    }
    for folder in _lists_alike(building):
        if not wanted:
            return
        stored = _open_entry(folder, config)
        if stored is None:
            continue
        theirs, entry = stored
        places, rows = list[int](), list[int]()
        for place, content in enumerate(entry["contents"]):
            if (row := wanted.pop(content, None)) is not None:
                places.append(place)
                rows.append(row)
                decoded[row] = StoredForm(*entry["originals"][place])
        # A list that has grown by a few images is copied in a few long runs.
        ends = 1 + np.flatnonzero((np.diff(places) != 1) | (np.diff(rows) != 1))
        for there, here in zip(np.split(places, ends), np.split(rows, ends), strict=True):
            if len(here):
                images[here[0] : here[-1] + 1] = theirs[there[0] : there[-1] + 1]


def _open_array(
    building: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[np.memmap, dict[int, StoredForm | str]]:
    """The array to decode into, and what a process that was killed has noted as decoded."""
    file, notes = building / "images.npy", building / NOTES
    if file.exists() and notes.exists():
        with suppress(OSError, ValueError, TypeError, EOFError):
            images = np.load(file, mmap_mode="r+", allow_pickle=False)
            # The notes end in a half-written line where the machine stopped.
            text = notes.read_bytes()
            os.truncate(notes, text.rfind(b"\n") + 1)
            noted = [json.loads(line) for line in text.split(b"\n")[:-1]]
            if images.shape == shape and images.dtype == dtype:
                return images, {k: v if isinstance(v, str) else StoredForm(*v) for k, v in noted}
    notes.unlink(missing_ok=True)
    images = np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape)
    reserve(file)
    return images, {}


def _note_decoded(building: Path, decoded: dict[int, StoredForm | str]) -> None:
    with (building / NOTES).open("a", encoding="utf-8") as file:
        file.writelines(
            json.dumps(item) + "\n" for item in decoded.items() if not isinstance(item[1], _Passing)
        )


def _stored_form(image: np.ndarray) -> StoredForm:
    height, width = image.shape[:2]
    return StoredForm(height, width, 1 if image.ndim == 2 else 3, image.itemsize * 8)


def _checksum(images: np.ndarray) -> int:
    return zlib.crc32(images.data) if images.size else 0


def _describe(
    contents: Sequence[Content],
    first_row: dict[tuple[str | None, str], int],
    decoded: dict[int, StoredForm | str],
) -> tuple[dict[str, Any], list[int]]:
    """The text stored beside the array, and for each of its images the row it was decoded to."""
    index: list[int] = []
    failures: list[tuple[int, str]] = []
    passing: list[int] = []
    originals: list[StoredForm] = []
    sources: list[int] = []
    for row, content in enumerate(contents):
        first = first_row.get((content.sha256, content.suffix), row)
        outcome = decoded.get(first, content.reason)
        if isinstance(outcome, str):
            failures.append((row, outcome))
            if isinstance(outcome, _Passing) and first == row:
                passing.append(row)
        else:
            index.append(row)
            originals.append(outcome)
            sources.append(first)
    entry = {
        "index": index,
        "failures": failures,
        "passing": passing,
        "contents": [f"{contents[row].sha256}{contents[row].suffix}" for row in index],
        "originals": originals,
    }
    return entry, sources


def _gather(images: np.memmap, sources: Sequence[int], building: Path) -> np.memmap:
    """Rewrite the array so that it holds the rows `sources`, a part at a time."""
    gathered = np.lib.format.open_memmap(
        building / "gathered.npy",  # one name, so that what a killed process left is overwritten
        mode="w+",
        dtype=images.dtype,
        shape=(len(sources), *images.shape[1:]),
    )
    for start in range(0, len(sources), 1024):
        gathered[start : start + 1024] = images[sources[start : start + 1024]]
    os.replace(building / "gathered.npy", building / "images.npy")
    return gathered


def _usable_entry(folder: Path, paths: Sequence[Path], config: DataConfig) -> _Entry | None:
    """The stored images and their text, unless a file that had failed for a passing reason can be
    read now, or fails for good."""
    stored = _open_entry(folder, config)
    if stored is None or not stored[1]["passing"]:
        return stored
    failed = [paths[row] for row in stored[1]["passing"]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        usable = all(_still_fails(path, config) for path in failed)
    _forget_volumes(failed)
    return stored if usable else None


def _still_fails(path: Path, config: DataConfig) -> bool:
    try:
        read_picture(path, config.read_options)
    except PassingImageError:
        return True
    except ImageError:
        return False
    return False


def _forget_volumes(paths: Sequence[Path]) -> None:
    if any(map(parse_slice, paths)):
        from a2bgan.data.formats.volumes import forget_volumes

        forget_volumes()


def _open_entry(folder: Path, config: DataConfig, *, just_built: bool = False) -> _Entry | None:
    """The stored images and their text, or None when they are missing, partial or damaged.

    just_built: by this process, which has computed the checksum from the same pixels.
    """
    try:
        entry = json.loads((folder / "entry.json").read_bytes())
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        shape = (len(entry["index"]), config.channels, config.size, config.size)
        intact = (
            images.shape == shape
            and images.dtype == (np.uint8 if config.depth == 8 else np.uint16)
            and len(entry["originals"]) == len(entry["contents"]) == shape[0]
            and isinstance(entry["failures"], list)
            and isinstance(entry["passing"], list)
            and (just_built or _checksum(images) == entry["crc32"])
        )
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    return (images, entry) if intact else None


def _install_entry(built: Path, folder: Path, paths: Sequence[Path], config: DataConfig) -> _Entry:
    """Move a built entry into place, or use the one another process put there first."""
    return move_into_place(
        built,
        folder,
        lambda: _open_entry(folder, config, just_built=True),
        lambda: _usable_entry(folder, paths, config),
    )
