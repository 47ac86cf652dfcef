"""Decode and preprocess each image once; afterwards read them from one memory-mapped array.

Below the cache folder:
    images/<key>/images.npy   the preprocessed images, (N, C, H, W)
    images/<key>/entry.json   row numbers, failures by row number, which of them may pass, original
                              sizes, a checksum
    content/<set>.json        size, modification time and content hash of each original

`key` is a digest of the contents, in order, and of the preprocessing, so a changed file or option
never meets an old array. `set` is a digest of the absolute paths: while sizes and modification
times stand, a later start reads no original. No file name is stored anywhere.
"""

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
import warnings
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import platformdirs

from a2bgan.data.atomic_folder import write_atomically
from a2bgan.data.ordered_work import in_order
from a2bgan.data.preprocessing import DataConfig, preprocess
from a2bgan.data.readers import (
    ImageError,
    PassingImageError,
    find_reader,
    image_suffix,
    open_image_file,
    read_picture,
)
from a2bgan.data.slice_names import parse_slice, volume_of
from a2bgan.errors import InputError

# Raise it when readers or preprocessing give other pixels for the same options.
FORMAT_VERSION = 3

# What a killed process left half built is removed after this long.
ABANDONED_AFTER_SECONDS = 24 * 3600

# Average size of the files from which decoding in several threads is faster than in one.
THREADS_PAY_ABOVE_BYTES = 16_384

# Decoded images between two notes of what has been decoded, and where those are.
NOTED_TOGETHER = 256
NOTES = "decoded.jsonl"

Progress = Callable[[int, int], None]

# The memory-mapped images and the text stored beside them.
_Entry = tuple[np.ndarray, dict[str, Any]]

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Failure:
    """An image that could not be used, and why, in a few words."""

    name: str
    reason: str


class _Passing(str):
    """The reason of a failure that may not be there another time."""


class Original(NamedTuple):
    """How an image was stored before preprocessing: pixels, channels (1 or 3), bits a channel."""

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
    originals: list[Original]
    content: list[str | None]


def default_cache_dir() -> Path:
    """$A2BGAN_CACHE, or the place this system keeps caches of a user."""
    chosen = os.environ.get("A2BGAN_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("a2bgan"))


def load_images(
    paths: Sequence[Path],
    names: Sequence[str],
    config: DataConfig,
    cache_dir: Path | None = None,
    progress: Progress | None = None,
) -> CachedImages:
    """Load images from the cache, filling it first where needed.

    paths, names: the files and what to call them in failures, one name for each path.
    cache_dir: `default_cache_dir()` when None; created readable by its owner alone.
    progress: called with (steps done, steps in all) while files are read; reading a file's content
        is one step, decoding it another.

    Files that cannot be used become failures, never an exception; those that failed for want of
    memory, a decoder or the disk are tried again at the next start. A file whose size or
    modification time changed is read again; where a process was killed, the next one goes on. Of
    several processes at once one does the work and the others wait for it. Raises InputError when
    the cache folder cannot be written or its disk is too full.
    """
    if len(paths) != len(names):
        raise ValueError(f"{len(paths)} paths but {len(names)} names")
    root = default_cache_dir() if cache_dir is None else Path(cache_dir)
    report = progress or _no_report
    with _cache_errors_named(root):
        _private_folder(root)
        contents, (images, entry) = _load_or_build(paths, config, root, report)
    return CachedImages(
        images=images,
        index=np.array(entry["index"], dtype=np.int64),
        failures=[Failure(names[row], reason) for row, reason in entry["failures"]],
        originals=[Original(*original) for original in entry["originals"]],
        content=[
            content.sha256 and content.sha256 + _fragment(path)
            for content, path in zip(contents, paths, strict=True)
        ],
    )


def _no_report(done: int, total: int) -> None:
    pass


def _load_or_build(
    paths: Sequence[Path], config: DataConfig, root: Path, report: Progress
) -> tuple[list["_Content"], _Entry]:
    entries, index_folder = _private_folder(root / "images"), _private_folder(root / "content")
    contents = _contents(paths, index_folder, report)
    for _ in range(3):
        key = _entry_key(contents, config)
        stored = _usable_entry(entries / key, paths, config)
        if stored is not None:
            return contents, stored
        _remove_abandoned(entries)
        with _building_folder(entries, key) as building:
            # Another process may have finished while this one waited for the folder.
            stored = _usable_entry(entries / key, paths, config)
            if stored is not None:
                return contents, stored
            _build_entry(paths, contents, config, building, report)
            # A file replaced after it was hashed must not be stored under the old content's key.
            now = _contents(paths, index_folder, _no_report)
            if now == contents:
                return contents, _install_entry(building, entries / key, paths, config)
        contents = now
    raise InputError("image files change while they are read; start again when they are complete")


class _Content(NamedTuple):
    """What is in a file: the hash of its bytes, or the reason why it cannot be opened."""

    sha256: str | None
    suffix: str
    size: int
    reason: str


def _contents(paths: Sequence[Path], folder: Path, report: Progress) -> list[_Content]:
    """Hash the files, except those whose size and modification time are as at the last time."""
    absolute = [os.path.abspath(path) for path in paths]
    suffixes = [image_suffix(Path(volume_of(path))) + _fragment(path) for path in paths]
    digest = hashlib.sha256("\0".join(absolute).encode("utf-8", "backslashreplace"))
    index_file = folder / f"{digest.hexdigest()}.json"
    known = _read_content_index(index_file, len(paths))
    # Slices of a volume are one file, looked at once.
    files = [volume_of(path) for path in absolute]
    first: dict[str, int] = {}
    for k, file in enumerate(files):
        first.setdefault(file, k)
    state_of = {file: _file_state(file) for file in first}
    states = [state_of[file] for file in files]
    changed = [
        k
        for k in first.values()
        if states[k] is None or known[k] is None or known[k][0] != states[k]
    ]
    contents = [
        _Content(entry[1] if entry else None, suffix, state[0] if state else 0, "")
        for entry, suffix, state in zip(known, suffixes, states, strict=True)
    ]
    threads = _useful_threads([contents[k] for k in changed])
    hashed = _in_parallel(lambda k: _hash_file(paths[k]), changed, threads)
    for done, k in enumerate(changed, start=len(paths) - len(changed) + 1):
        sha256, reason = next(hashed)
        contents[k] = contents[k]._replace(sha256=sha256, reason=reason)
        report(done, 2 * len(paths))
    contents = [
        content._replace(sha256=contents[first[file]].sha256, reason=contents[first[file]].reason)
        for content, file in zip(contents, files, strict=True)
    ]
    if any(states[k] is not None for k in changed):
        rows = [
            None if content.sha256 is None else [state, content.sha256]
            for state, content in zip(states, contents, strict=True)
        ]
        write_atomically(index_file, json.dumps(rows))
    return contents


def _file_state(path: str) -> list[int] | None:
    try:
        if os.path.isdir(path):  # a DICOM series
            found = [entry.stat() for entry in os.scandir(path) if entry.is_file()]
            return [sum(s.st_size for s in found), max(s.st_mtime_ns for s in found)]
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    return [status.st_size, status.st_mtime_ns]


def _fragment(path: Path) -> str:
    """What tells a slice from the others of its volume; "" for other images."""
    found = parse_slice(path)
    return "" if found is None else found.fragment


def _hash_file(path: Path) -> tuple[str | None, str]:
    try:
        find_reader(path)
        volume = Path(volume_of(path))
        if os.path.isdir(volume):
            digest = hashlib.sha256()
            for part in sorted(entry for entry in volume.iterdir() if entry.is_file()):
                digest.update((_hash_file(part)[0] or "").encode())
            return digest.hexdigest(), ""
        with open_image_file(volume) as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), ""
    except ImageError as error:
        return None, str(error)
    except OSError:
        return None, "cannot be read (input/output error)"


def _read_content_index(index_file: Path, count: int) -> list[Any]:
    try:
        rows = json.loads(index_file.read_bytes())
        intact = len(rows) == count and all(
            row is None or (isinstance(row[0], list) and len(row[1]) == 64) for row in rows
        )
        return rows if intact else [None] * count
    except (OSError, ValueError, TypeError, IndexError, KeyError):
        return [None] * count


def _entry_key(contents: Sequence[_Content], config: DataConfig) -> str:
    # Which slices there are is in the paths.
    options = config.model_dump(
        exclude={"window_low", "window_high", "volume_axis", "slices", "skip_empty", "series"}
    )
    if config.window in ("percentile", "fixed"):
        options["window_range"] = config.window_range
    # The reader is chosen by the suffix, so equal bytes can read differently.
    header = {"version": FORMAT_VERSION, "options": options}
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for content in contents:
        digest.update(
            f"\n{content.sha256}{content.suffix}{content.reason}".encode(errors="backslashreplace")
        )
    return digest.hexdigest()


def _build_entry(
    paths: Sequence[Path],
    contents: Sequence[_Content],
    config: DataConfig,
    building: Path,
    report: Progress,
) -> None:
    """Decode everything that is not yet decoded into a folder beside the entries."""
    shape = (len(paths), config.channels, config.size, config.size)
    dtype = np.dtype(np.uint8 if config.depth == 8 else np.uint16)
    _require_space(building, int(np.prod(shape)) * dtype.itemsize)

    # Byte-identical files are decoded once: the first row of each content stands for the others.
    first_row: dict[tuple[str | None, str], int] = {}
    for row, content in enumerate(contents):
        if content.sha256 is not None:
            first_row.setdefault((content.sha256, content.suffix), row)

    images, decoded = _open_array(building, shape, dtype)

    def decode(row: int) -> Original | str:
        try:
            image, window = read_picture(paths[row], config.reading)
            images[row] = preprocess(image, config, window)
        except PassingImageError as error:
            return _Passing(error)
        except ImageError as error:
            return str(error)
        return _describe_original(image)

    rows = [row for row in first_row.values() if row not in decoded]
    already = len(paths) - len(rows)
    threads = _useful_threads([contents[row] for row in rows])
    unnoted: dict[int, Original | str] = {}
    with warnings.catch_warnings():
        # Pillow warns about damaged files; what matters is reported as a failure.
        warnings.simplefilter("ignore")
        for number, result in enumerate(_in_parallel(decode, rows, threads)):
            unnoted[rows[number]] = result
            report(len(paths) + already + number + 1, 2 * len(paths))
            if len(unnoted) == NOTED_TOGETHER:
                images.flush()  # first, so that what is noted is there even if the machine stops
                _note_decoded(building, unnoted)
                decoded |= unnoted
                unnoted.clear()
    decoded |= unnoted
    _forget_volumes(paths)

    entry, sources = _describe(contents, first_row, decoded)
    if sources != list(range(len(paths))):
        _require_space(building, len(sources) * int(np.prod(shape[1:])) * dtype.itemsize)
        images = _gather(images, sources, building)
    images.flush()
    entry["crc32"] = _checksum(images)
    (building / "entry.json").write_text(json.dumps(entry), encoding="utf-8")
    (building / NOTES).unlink(missing_ok=True)


def _open_array(
    building: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> tuple[np.memmap, dict[int, Original | str]]:
    """The array to decode into, and what a process that was killed has noted as decoded."""
    file, notes = building / "images.npy", building / NOTES
    if file.exists() and notes.exists():
        with suppress(OSError, ValueError, TypeError, EOFError):
            images = np.load(file, mmap_mode="r+", allow_pickle=False)
            # The notes end in a half-written line where the machine stopped.
            lines = notes.read_text(encoding="utf-8").split("\n")[:-1]
            noted = [json.loads(line) for line in lines]
            if images.shape == shape and images.dtype == dtype:
                return images, {k: v if isinstance(v, str) else Original(*v) for k, v in noted}
    notes.unlink(missing_ok=True)
    return np.lib.format.open_memmap(file, mode="w+", dtype=dtype, shape=shape), {}


def _note_decoded(building: Path, decoded: dict[int, Original | str]) -> None:
    with (building / NOTES).open("a", encoding="utf-8") as file:
        file.writelines(
            json.dumps(item) + "\n" for item in decoded.items() if not isinstance(item[1], _Passing)
        )


@contextmanager
def _building_folder(entries: Path, key: str) -> Iterator[Path]:
    """A folder to build an entry in: what a killed process left of it, or a new one.

    A lock on the folder, which ends with its process, tells one that is left from one in use, for
    whose end it waits. Where there are no locks every process has a folder of its own. It is gone
    after the block, unless that was interrupted.
    """
    folder = entries / f".building-{key}"
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
        kept = interrupted and (folder / NOTES).exists()
        # Once it is moved into place another process may have made one of the same name.
        if not kept and (lock is None or _is_at(lock, folder)):
            shutil.rmtree(folder, ignore_errors=True)
        if lock is not None:
            _unlock(lock)


def _lock_folder(folder: Path, *, wait: bool) -> int | None:
    """A descriptor that holds the folder's lock, for `_unlock`; None where there are no locks.

    Raises BlockingIOError when another process has it, unless it is to `wait`, and
    FileNotFoundError when the folder is gone.
    """
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
    # Closing alone would leave it to a child process that was forked meanwhile.
    with suppress(OSError):
        fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)


def _describe_original(image: np.ndarray) -> Original:
    height, width = image.shape[:2]
    return Original(height, width, 1 if image.ndim == 2 else 3, image.itemsize * 8)


def _checksum(images: np.ndarray) -> int:
    return zlib.crc32(images.data) if images.size else 0


def _describe(
    contents: Sequence[_Content],
    first_row: dict[tuple[str | None, str], int],
    decoded: dict[int, Original | str],
) -> tuple[dict[str, Any], list[int]]:
    """The text stored beside the array, and for each of its images the row it was decoded to."""
    index: list[int] = []
    failures: list[tuple[int, str]] = []
    passing: list[int] = []
    originals: list[Original] = []
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
    entry = {"index": index, "failures": failures, "passing": passing, "originals": originals}
    return entry, sources


def _gather(images: np.memmap, sources: Sequence[int], building: Path) -> np.memmap:
    """Rewrite the array so that it holds the rows `sources`, a part at a time."""
    gathered = np.lib.format.open_memmap(
        building / "gathered.npy",
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
        read_picture(path, config.reading)
    except PassingImageError:
        return True
    except ImageError:
        return False
    return False


def _forget_volumes(paths: Sequence[Path]) -> None:
    if any(map(parse_slice, paths)):
        from a2bgan.data.volumes import forget_volumes

        forget_volumes()


def _open_entry(folder: Path, config: DataConfig) -> _Entry | None:
    """The stored images and their text, or None when they are missing, partial or damaged."""
    try:
        entry = json.loads((folder / "entry.json").read_bytes())
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        shape = (len(entry["index"]), config.channels, config.size, config.size)
        intact = (
            images.shape == shape
            and images.dtype == (np.uint8 if config.depth == 8 else np.uint16)
            and len(entry["originals"]) == shape[0]
            and isinstance(entry["failures"], list)
            and isinstance(entry["passing"], list)
            and _checksum(images) == entry["crc32"]
        )
    except (OSError, ValueError, TypeError, KeyError, EOFError):
        return None
    return (images, entry) if intact else None


def _install_entry(built: Path, folder: Path, paths: Sequence[Path], config: DataConfig) -> _Entry:
    """Move a built entry into place, or use the one another process put there first."""
    for _ in range(3):
        try:
            os.rename(built, folder)
            stored = _open_entry(folder, config)
        except OSError:
            if not folder.exists():
                raise
            stored = _usable_entry(folder, paths, config)
        if stored is not None:
            return stored
        # What stands there is damaged or outdated: move it away in one step, then try again.
        away = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
        with suppress(FileNotFoundError):
            os.rename(folder, away / "entry")
        shutil.rmtree(away, ignore_errors=True)
    raise InputError(f"{folder}: the stored images are damaged again and again; check the disk")


def _useful_threads(contents: Sequence[_Content]) -> int:
    # Decoding and resizing release the interpreter lock, but small files spend most of their time
    # in Python, where a second thread only gets in the way.
    average = sum(content.size for content in contents) / max(1, len(contents))
    return (os.cpu_count() or 1) if average > THREADS_PAY_ABOVE_BYTES else 1


def _in_parallel(
    task: Callable[[int], _Result], items: Sequence[int], threads: int
) -> Iterator[_Result]:
    """Results in the order of the items."""
    if threads == 1:
        yield from map(task, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, task, items, ahead=64 * threads)


def _private_folder(folder: Path) -> Path:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return folder


def _remove_abandoned(entries: Path) -> None:
    for folder in entries.glob(".building-*"):
        with suppress(OSError):
            if time.time() - folder.stat().st_mtime > ABANDONED_AFTER_SECONDS:
                # One that takes more than a day to fill is locked, which is an OSError.
                lock = _lock_folder(folder, wait=False)
                shutil.rmtree(folder, ignore_errors=True)
                if lock is not None:
                    _unlock(lock)


def _require_space(folder: Path, needed: int) -> None:
    # Writing to a memory map on a full disk kills the process, so look first.
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise InputError(
            f"{folder}: the preprocessed images need {needed / 1e6:,.0f} MB and only "
            f"{free / 1e6:,.0f} MB are free; set A2BGAN_CACHE to a folder on a larger disk"
        )


@contextmanager
def _cache_errors_named(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{root}: the cache folder cannot be used ({error.strerror or error}); "
            "set A2BGAN_CACHE to a folder that can be written"
        ) from None
