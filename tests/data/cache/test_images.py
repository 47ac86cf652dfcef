"""The cache gives what decoding gives, decodes once, and survives changes, damage and races."""

import errno
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from a2bgan.data import preprocessing
from a2bgan.data.cache import content_index
from a2bgan.data.cache import images as cache
from a2bgan.data.cache.folder import default_cache_dir
from a2bgan.data.cache.images import CachedImages, Failure, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats import reading
from a2bgan.data.formats.picture import PassingImageError, Picture, ReadOptions
from a2bgan.data.formats.reading import read_image, read_picture
from a2bgan.data.preprocessing import preprocess
from a2bgan.errors import InputError
from a2bgan.files import ordered_work

CONFIG = DataConfig(size=32)


@pytest.fixture
def files(tiny_set: Path) -> list[Path]:
    return sorted((tiny_set / "images").glob("*.png"))


@pytest.fixture
def cache_dir(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(files: list[Path], cache_dir: Path, config: DataConfig = CONFIG) -> CachedImages:
    return load_images(files, [file.name for file in files], config, cache_dir)


def decoded(files: list[Path], config: DataConfig = CONFIG) -> np.ndarray:
    return np.stack([preprocess(read_image(file, config.max_pixels), config) for file in files])


def entries(cache_dir: Path) -> list[Path]:
    return sorted((cache_dir / "images").iterdir())


def forbid_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise AssertionError("an original was read")

    monkeypatch.setattr(cache, "read_picture", refuse)
    monkeypatch.setattr(content_index, "open_image_file", refuse)


@pytest.mark.parametrize(
    "config", [CONFIG, DataConfig(size=64, channels=3, depth=16, equalize=True, square="pad")]
)
def test_images_are_what_preprocessing_gives(
    files: list[Path], cache_dir: Path, config: DataConfig
) -> None:
    for _ in range(2):
        result = load(files, cache_dir, config)
        assert isinstance(result.images, np.memmap)
        assert not result.images.flags.writeable
        assert np.array_equal(result.images, decoded(files, config))
        assert result.index.tolist() == list(range(len(files)))
        assert result.failures == []
        assert set(result.originals) == {(48, 40, 1, 8)}


def test_several_threads_give_the_same(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ordered_work, "THREADS_PAY_ABOVE_BYTES", 0)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    assert np.array_equal(load(files, cache_dir).images, decoded(files))


def test_a_second_start_reads_no_original(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(files, cache_dir)
    forbid_reading(monkeypatch)
    second = load(files, cache_dir)
    assert np.array_equal(second.images, first.images)
    assert second.content == first.content


def test_other_options_reuse_hashes_but_not_pixels(files: list[Path], cache_dir: Path) -> None:
    load(files, cache_dir)
    other = DataConfig(size=32, crop_top=0.1)
    assert np.array_equal(load(files, cache_dir, other).images, decoded(files, other))
    assert len(entries(cache_dir)) == 2
    spelled_out = DataConfig(size=32, window="percentile", window_low=0.5, window_high=99.5)
    load(files, cache_dir, spelled_out)
    load(files, cache_dir, DataConfig(size=32, window="percentile"))
    assert len(entries(cache_dir)) == 3


def test_order_matters(files: list[Path], cache_dir: Path) -> None:
    load(files, cache_dir)
    assert np.array_equal(load(files[::-1], cache_dir).images, decoded(files[::-1]))


def test_a_changed_original_is_read_again(
    files: list[Path], cache_dir: Path, make_texture: Callable[[int], np.ndarray]
) -> None:
    before = load(files, cache_dir)
    Image.fromarray(make_texture(999)).save(files[3])
    after = load(files, cache_dir)
    assert np.array_equal(after.images, decoded(files))
    assert not np.array_equal(after.images[3], before.images[3])
    # Only touched: the content decides, so nothing is decoded again.
    os.utime(files[4], ns=(1, 1))
    count = len(entries(cache_dir))
    assert np.array_equal(load(files, cache_dir).images, after.images)
    assert len(entries(cache_dir)) == count


def test_a_moved_data_set_is_not_decoded_again(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load(files, cache_dir)
    moved = files[0].parent.with_name("moved")
    shutil.copytree(files[0].parent, moved)
    monkeypatch.setattr(cache, "read_picture", lambda *arguments: pytest.fail("decoded again"))
    assert np.array_equal(load(sorted(moved.iterdir()), cache_dir).images, first.images)


def test_failures_are_named_and_left_out(files: list[Path], cache_dir: Path) -> None:
    files[2].write_bytes(files[2].read_bytes()[:200])
    files[5].unlink()
    files[7].write_bytes(b"")
    Image.new("L", (40, 48), 9).save(files[8])
    good = [k for k in range(len(files)) if k not in (2, 5, 7, 8)]
    for _ in range(2):
        result = load(files, cache_dir)
        assert result.failures == [
            Failure("002.png", "truncated file"),
            Failure("005.png", "missing file"),
            Failure("007.png", "empty file"),
            Failure("008.png", "constant image"),
        ]
        assert result.index.tolist() == good
        assert np.array_equal(result.images, decoded([files[k] for k in good]))
        assert len(result.originals) == len(good)
        assert [k for k, content in enumerate(result.content) if content is None] == [5, 7]


def fail_on(monkeypatch: pytest.MonkeyPatch, bad: Path, error: Exception, read: list[Path]) -> None:
    """Let the reader of PNG raise an error for one file, and note what is read."""
    original = reading.READERS["picture"]

    def reader(path: Path, options: ReadOptions) -> Picture:
        read.append(path)
        if path == bad:
            raise error
        return original(path, options)

    monkeypatch.setitem(reading.READERS, "picture", reader)


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (MemoryError(), "not enough memory to decode it"),
        (OSError(errno.EIO, "Input/output error"), "cannot be read (Input/output error)"),
        (PassingImageError("X needs a decoder"), "X needs a decoder"),
    ],
)
def test_what_failed_for_a_reason_outside_the_file_is_tried_again(
    files: list[Path],
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    reason: str,
) -> None:
    shutil.copy(files[2], files[3])
    with monkeypatch.context() as patch:
        read: list[Path] = []
        fail_on(patch, files[2], error, read)
        failures = [Failure("002.png", reason), Failure("003.png", reason)]
        assert load(files, cache_dir).failures == failures
        read.clear()
        again = load(files, cache_dir)
        assert again.failures == failures
        assert len(again.images) == len(files) - 2
        assert read == [files[2]]
    for _ in range(2):
        result = load(files, cache_dir)
        assert result.failures == []
        assert np.array_equal(result.images, decoded(files))
        (entry,) = entries(cache_dir)
        assert not entry.name.startswith(".")


def test_what_is_wrong_with_the_file_itself_is_remembered(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[2].write_bytes(files[2].read_bytes()[:200])
    load(files, cache_dir)
    forbid_reading(monkeypatch)
    assert load(files, cache_dir).failures == [Failure("002.png", "truncated file")]


def test_a_passing_failure_is_tried_again_after_an_interruption(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "NOTED_TOGETHER", 5)

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        fail_on(patch, files[2], MemoryError(), [])
        patch.setattr(cache, "_gather", interrupt)
        load(files, cache_dir)
    assert [entry.name[0] for entry in entries(cache_dir)] == ["."]
    result = load(files, cache_dir)
    assert result.failures == []
    assert np.array_equal(result.images, decoded(files))


def test_a_repaired_file_is_used(files: list[Path], cache_dir: Path) -> None:
    data = files[0].read_bytes()
    files[0].unlink()
    assert len(load(files, cache_dir).failures) == 1
    files[0].write_bytes(data)
    result = load(files, cache_dir)
    assert result.failures == []
    assert np.array_equal(result.images, decoded(files))


def test_identical_files_are_decoded_once(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [files[0].with_name(f"copy{k}.png") for k in range(3)]
    for copy in copies:
        shutil.copy(files[1], copy)
    broken = files[0].with_name("broken.png")
    broken.write_text("no image")
    everything = [copies[0], broken, *files, *copies[1:], broken]
    read: list[Path] = []

    def count(path: Path, options: ReadOptions) -> Picture:
        read.append(path)
        return read_picture(path, options)

    monkeypatch.setattr(cache, "read_picture", count)
    result = load(everything, cache_dir)
    assert len(read) == len(files) + 1
    expected = [copies[0], *files, *copies[1:]]
    assert np.array_equal(result.images, decoded(expected))
    assert [everything[k] for k in result.index] == expected
    assert len(result.failures) == 2


def test_no_images_and_only_failures(files: list[Path], cache_dir: Path) -> None:
    for _ in range(2):
        assert load([], cache_dir).images.shape == (0, 1, 32, 32)
        nothing = load([files[0].with_name("absent.png")], cache_dir)
        assert nothing.images.shape == (0, 1, 32, 32)
        assert nothing.failures == [Failure("absent.png", "missing file")]


def damage_pixels(entry: Path) -> None:
    data = bytearray((entry / "images.npy").read_bytes())
    data[-100] ^= 1
    (entry / "images.npy").write_bytes(data)


def replace_by_empty_folder(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.mkdir()


def replace_by_file(entry: Path) -> None:
    shutil.rmtree(entry)
    entry.write_text("x")


@pytest.mark.parametrize(
    "damage",
    [
        damage_pixels,
        lambda entry: os.truncate(entry / "images.npy", 300),
        lambda entry: os.truncate(entry / "images.npy", 0),
        lambda entry: (entry / "images.npy").unlink(),
        lambda entry: (entry / "entry.json").unlink(),
        lambda entry: (entry / "entry.json").write_text('{"index": ['),
        lambda entry: (entry / "entry.json").write_text("[]"),
        lambda entry: (entry / "entry.json").write_bytes(b"\xff\xfe"),
        replace_by_empty_folder,
        replace_by_file,
    ],
)
def test_a_damaged_entry_is_rebuilt(
    files: list[Path], cache_dir: Path, damage: Callable[[Path], object]
) -> None:
    load(files, cache_dir)
    (entry,) = entries(cache_dir)
    damage(entry)
    assert np.array_equal(load(files, cache_dir).images, decoded(files))
    assert entries(cache_dir) == [entry]


def test_the_cache_is_private(files: list[Path], cache_dir: Path) -> None:
    files[0].unlink()
    load(files, cache_dir)
    assert cache_dir.stat().st_mode & 0o777 == 0o700
    for path in cache_dir.rglob("*"):
        assert "png" not in path.name
        if path.is_file():
            assert files[1].stem.encode() + b".png" not in path.read_bytes()
            assert files[1].parent.name.encode() not in path.read_bytes()


def test_what_a_killed_process_left_is_removed_when_images_are_built(
    files: list[Path], cache_dir: Path
) -> None:
    old = cache_dir / "images" / ".building-old"
    old.mkdir(parents=True)
    os.utime(old, (time.time() - 90_000,) * 2)
    load(files, cache_dir)
    assert not old.exists()


def test_the_first_of_two_processes_wins_where_there_are_no_locks(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    build = cache._build_entry

    def build_too_late(*arguments: object) -> dict[str, list[int] | None]:
        mine = build(*arguments)  # type: ignore[arg-type]
        monkeypatch.setattr(cache, "_build_entry", build)
        load(files, cache_dir)
        return mine

    monkeypatch.setattr(cache, "_build_entry", build_too_late)
    assert np.array_equal(load(files, cache_dir).images, decoded(files))
    (entry,) = entries(cache_dir)
    assert not entry.name.startswith(".")


def test_processes_at_once(files: list[Path], cache_dir: Path) -> None:
    program = (
        "import sys, time; from pathlib import Path; "
        "from a2bgan.data.cache import images as cache; "
        "from a2bgan.data.config import DataConfig; "
        "read, original = [], cache.read_picture; "
        "cache.read_picture = lambda *a: (read.append(a), time.sleep(0.03), original(*a))[2]; "
        "files, folder = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2]); "
        "images = cache.load_images(files, [''] * len(files), DataConfig(size=32), folder); "
        "print(images.images.sum(), len(read))"
    )
    command = [sys.executable, "-c", program, str(files[0].parent), str(cache_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=60)[0].split() for process in running]
    assert [total for total, _ in outputs] == [str(decoded(files).sum())] * 3
    # One does the work, the others wait for it.
    assert sorted(int(count) for _, count in outputs) == [0, 0, len(files)]
    assert len(entries(cache_dir)) == 1


def test_an_original_replaced_while_it_is_read(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []

    def read_while_copying(path: Path, options: ReadOptions) -> Picture:
        if not copied:
            copied.append(shutil.copy(files[1], files[0]))
        return read_picture(path, options)

    monkeypatch.setattr(cache, "read_picture", read_while_copying)
    result = load(files, cache_dir)
    assert result.content[0] == result.content[1]
    assert np.array_equal(result.images, decoded(files))
    assert len(entries(cache_dir)) == 1


@pytest.mark.parametrize("meanwhile", ["empty", "another"])
def test_an_original_that_is_replaced_and_restored_while_it_is_read(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str
) -> None:
    whole, status = files[0].read_bytes(), files[0].stat()
    others: list[bytes] = [b"" if meanwhile == "empty" else files[1].read_bytes()]

    def read_while_replaced(path: Path, options: ReadOptions) -> Picture:
        if path != files[0] or not others:
            return read_picture(path, options)
        path.write_bytes(others.pop())
        try:
            return read_picture(path, options)
        finally:
            path.write_bytes(whole)
            os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    monkeypatch.setattr(cache, "read_picture", read_while_replaced)
    for _ in range(2):
        result = load(files, cache_dir)
        assert not others
        assert result.failures == []
        assert np.array_equal(result.images, decoded(files))


def test_memory_that_is_short_in_preprocessing_may_not_be_another_time(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def short(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(preprocessing, "_region", short)
        failures = load(files, cache_dir).failures
        assert {failure.reason for failure in failures} == {"not enough memory"}
        with pytest.raises(PassingImageError, match="not enough memory"):
            preprocessing.load_image(files[0], CONFIG)
    assert load(files, cache_dir).failures == []


def test_originals_that_never_rest(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_change(path: Path, options: ReadOptions) -> Picture:
        picture = read_picture(path, options)
        files[0].write_bytes(files[0].read_bytes() + b"x")
        return picture

    monkeypatch.setattr(cache, "read_picture", read_and_change)
    with pytest.raises(InputError, match="change while they are read"):
        load(files, cache_dir)
    assert entries(cache_dir) == []


def test_an_interrupted_build_leaves_nothing(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(cache, "preprocess", interrupt)
        with pytest.raises(KeyboardInterrupt):
            load(files, cache_dir)
    assert entries(cache_dir) == []
    assert np.array_equal(load(files, cache_dir).images, decoded(files))


def test_cache_folders_that_cannot_be_used(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match=r"the cache folder cannot be used .* set A2BGAN_CACHE"):
        load(files, tmp_path / "file" / "cache")
    full = SimpleNamespace(total=100, used=90, free=10)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: full)
    with pytest.raises(InputError, match="only 0 MB are free; set A2BGAN_CACHE"):
        load(files, tmp_path / "small")


def test_a_disk_that_fills_before_the_images_are_gathered(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files[2].write_bytes(files[2].read_bytes()[:200])  # what is left has to be rewritten
    free = iter([10**9, 10])
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=next(free)))
    with pytest.raises(InputError, match="only 0 MB are free; set A2BGAN_CACHE"):
        load(files, cache_dir)
    assert entries(cache_dir) == []


def test_default_cache_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "mine"))
    assert default_cache_dir() == tmp_path / "mine"
    monkeypatch.delenv("A2BGAN_CACHE")
    assert default_cache_dir().name == "a2bgan"


def test_one_name_for_each_path(files: list[Path], cache_dir: Path) -> None:
    with pytest.raises(ValueError, match="34 paths but 1 names"):
        load_images(files, ["a"], CONFIG, cache_dir)


def test_real_images(shared_data: Path, cache_dir: Path) -> None:
    files = sorted((shared_data / "chestxray8" / "images" / "covid").glob("*.png"))
    result = load(files, cache_dir)
    assert result.failures == []
    assert np.array_equal(result.images[:5], decoded(files[:5]))


def test_where_a_killed_process_stopped_the_next_one_goes_on(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "NOTED_TOGETHER", 5)
    read: list[Path] = []

    def counted(path: Path, options: ReadOptions) -> Picture:
        read.append(path)
        if len(read) == 18 and os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return read_picture(path, options)

    monkeypatch.setattr(cache, "read_picture", counted)
    parent = os.getpid()
    child = os.fork()
    if not child:
        load(files, cache_dir)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    (left,) = entries(cache_dir)
    with (left / cache.NOTES).open("a") as notes:
        notes.write("[16, ")  # half a line
    # Enough for what is not there yet; and the half line is no part of the next one.
    there = (left / "images.npy").stat()
    free = there.st_size - 512 * there.st_blocks
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=free))
    noted = []
    gather_notes = cache._note_decoded

    def note(building: Path, decoded_now: dict[int, object]) -> None:
        gather_notes(building, decoded_now)  # type: ignore[arg-type]
        lines = (building / cache.NOTES).read_text().splitlines()
        noted.append(len([json.loads(line) for line in lines]))

    monkeypatch.setattr(cache, "_note_decoded", note)

    loaded = load(files, cache_dir)
    assert noted == [20, 25, 30]
    assert len(read) == len(files) - 15
    np.testing.assert_array_equal(loaded.images, decoded(files))
    (entry,) = entries(cache_dir)
    assert sorted(path.name for path in entry.iterdir()) == ["entry.json", "images.npy"]


def test_an_image_more_is_one_image_to_decode_and_no_second_copy(
    files: list[Path],
    cache_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_texture: Callable[[int], np.ndarray],
) -> None:
    load(files, cache_dir)
    (before,) = entries(cache_dir)
    os.utime(before, (1, 1))  # nobody has used it lately
    new = files[0].with_name("0-new.png")
    Image.fromarray(make_texture(999)).save(new)
    read: list[Path] = []

    def counted(path: Path, options: ReadOptions) -> Picture:
        read.append(path)
        return read_picture(path, options)

    monkeypatch.setattr(cache, "read_picture", counted)
    more = [*files[:4], new, *files[4:]]
    loaded = load(more, cache_dir)
    assert read == [new]
    np.testing.assert_array_equal(loaded.images, decoded(more))
    assert loaded.originals == [loaded.originals[0]] * len(more)
    (after,) = entries(cache_dir)
    assert after != before
    # A part of the list, in another order, is copied from it.
    some = files[7:2:-1]
    np.testing.assert_array_equal(load(some, cache_dir).images, decoded(some))
    assert read == [new]
    # Prepared in another way it is another image.
    load(some, cache_dir, DataConfig(size=32, crop_top=0.1))
    assert len(read) == 1 + len(some)


def test_damaged_pixels_are_not_copied(files: list[Path], cache_dir: Path) -> None:
    load(files, cache_dir)
    (entry,) = entries(cache_dir)
    with (entry / "images.npy").open("r+b") as stored:
        stored.seek(-100, os.SEEK_END)
        stored.write(bytes(100))
    np.testing.assert_array_equal(load(files[1:], cache_dir).images, decoded(files[1:]))


def test_the_cache_stays_within_its_limit(
    files: list[Path], cache_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(files, cache_dir)
    (old,) = entries(cache_dir)
    os.utime(old, (1, 1))
    monkeypatch.setenv("A2BGAN_CACHE_LIMIT", "40KB")
    other = DataConfig(size=32, crop_top=0.1)
    np.testing.assert_array_equal(load(files, cache_dir, other).images, decoded(files, other))
    (entry,) = entries(cache_dir)
    assert entry != old
    monkeypatch.setenv("A2BGAN_CACHE_LIMIT", "much")
    with pytest.raises(InputError, match="A2BGAN_CACHE_LIMIT: 'much' is not a size"):
        load(files[1:], cache_dir)


def test_processes_that_grow_a_list_and_make_room_at_once(
    files: list[Path], cache_dir: Path
) -> None:
    program = (
        "import os, sys; from pathlib import Path; "
        "from a2bgan.data.cache import images as cache, space; "
        "from a2bgan.data.config import DataConfig; "
        "files, folder = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2]); "
        "first = int(sys.argv[3]); "
        "[(cache.load_images(files[first:n], [''] * (n - first), DataConfig(size=32), folder), "
        "space.prune(folder, 100_000)) for n in range(first + 2, len(files))]; "
        "images = cache.load_images(files, [''] * len(files), DataConfig(size=32), folder); "
        "print(images.images.sum())"
    )
    command = [sys.executable, "-c", program, str(files[0].parent), str(cache_dir)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    running = [
        subprocess.Popen([*command, str(first)], stdout=subprocess.PIPE, text=True, env=environment)
        for first in range(3)
    ]
    outputs = [process.communicate(timeout=120)[0].strip() for process in running]
    assert outputs == [str(decoded(files).sum())] * 3
