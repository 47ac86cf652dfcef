import errno
import fcntl
import os
import threading
import time
from pathlib import Path

import pytest

from a2bgan.files.building_folder import (
    building_folder,
    remove_abandoned,
    remove_in_one_step,
    replace_folder,
)

NOTES = "notes"


def test_the_folder_is_gone_after_the_block_or_where_it_was_moved(tmp_path: Path) -> None:
    with building_folder(tmp_path, "a", NOTES) as folder:
        (folder / NOTES).touch()
    assert list(tmp_path.iterdir()) == []
    with building_folder(tmp_path, "a", NOTES) as folder:
        folder.rename(tmp_path / "a")
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("noted", [True, False])
def test_after_an_interruption_the_next_one_goes_on_with_what_is_noted(
    tmp_path: Path, noted: bool
) -> None:
    with pytest.raises(KeyboardInterrupt), building_folder(tmp_path, "a", NOTES) as folder:
        (folder / (NOTES if noted else "other")).touch()
        raise KeyboardInterrupt
    assert folder.exists() == noted
    with building_folder(tmp_path, "a", NOTES) as again:
        assert again == folder
        assert (again / NOTES).exists() == noted


def test_what_a_living_process_builds_is_waited_for(tmp_path: Path) -> None:
    entered = threading.Event()

    def build_too() -> None:
        with building_folder(tmp_path, "a", NOTES) as other:
            assert other.exists()
            entered.set()

    other = threading.Thread(target=build_too)
    with building_folder(tmp_path, "a", NOTES) as one:
        other.start()
        assert not entered.wait(0.2)
        assert one.exists()
    other.join(timeout=60)
    assert entered.is_set()
    assert list(tmp_path.iterdir()) == []


def test_without_locks_every_process_builds_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with building_folder(tmp_path, "a", NOTES) as one:
        with building_folder(tmp_path, "a", NOTES) as other:
            assert one != other
        assert one.exists() and not other.exists()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_left_is_removed_after_a_day(tmp_path: Path) -> None:
    old, new, entry = (tmp_path / name for name in (".building-old", ".building-new", "entry"))
    for folder in (new, entry):
        folder.mkdir()
    with building_folder(tmp_path, "old", NOTES):
        os.utime(old, (time.time() - 90_000,) * 2)
        remove_abandoned(tmp_path)
        assert old.exists()  # its process lives
    for folder in (old, entry):
        folder.mkdir(exist_ok=True)
        os.utime(folder, (time.time() - 90_000,) * 2)
    remove_abandoned(tmp_path)
    assert sorted(tmp_path.iterdir()) == [new, entry]


def test_a_folder_or_a_file_in_its_place_is_removed(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    (tmp_path / "file").touch()
    for name in ("folder", "file", "absent"):
        remove_in_one_step(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_only_by_a_whole_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built, folder, rename = tmp_path / "built", tmp_path / "folder", os.rename

    def build(text: str) -> None:
        built.mkdir()
        (built / "file").write_text(text)

    for text in ("old", "older"):
        build(text)
        replace_folder(built, folder)
        assert [entry.name for entry in tmp_path.iterdir()] == ["folder"]
    build("new")

    def refuse(source: Path, target: Path) -> None:
        if source == built:
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(OSError, match="Input/output error"):
        replace_folder(built, folder)
    assert (folder / "file").read_text() == "older"
    assert sorted(tmp_path.iterdir()) == [built, folder]
