import os
from pathlib import Path

import pytest

from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file, atomic_folder, write_atomically


def test_the_folder_appears_only_when_the_block_has_ended(tmp_path):
    out = tmp_path / "deep" / "set"
    with atomic_folder(out) as folder:
        (folder / "file").write_text("content")
        assert not out.exists()
        assert folder.parent == out.parent
    assert (out / "file").read_text() == "content"
    assert [path.name for path in out.parent.iterdir()] == ["set"]


def test_an_error_in_the_block_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError, match="half way"), atomic_folder(tmp_path / "set") as folder:
        (folder / "file").write_text("content")
        raise RuntimeError("half way")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_replaced(tmp_path):
    (tmp_path / "set").mkdir()
    with atomic_folder(tmp_path / "set") as folder:
        (folder / "file").write_text("content")
    assert (tmp_path / "set" / "file").exists()


def test_a_folder_in_use_stays_as_it_is(tmp_path):
    (tmp_path / "precious").write_text("old")
    with pytest.raises(InputError, match="is not empty: choose another"), atomic_folder(tmp_path):
        raise AssertionError("the block must not run")
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


def test_a_folder_filled_meanwhile_stays_as_it_is(tmp_path):
    out = tmp_path / "set"
    with pytest.raises(InputError, match="is not empty"), atomic_folder(out) as folder:
        (folder / "file").write_text("new")
        out.mkdir()
        (out / "file").write_text("old")
    assert (out / "file").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


@pytest.mark.parametrize(
    ("place", "message"),
    [("set", "set: is a file: choose a folder"), ("set/below", "cannot create the folder")],
)
def test_a_file_in_the_way_is_named(tmp_path, place, message):
    (tmp_path / "set").write_text("a file")
    with pytest.raises(InputError, match=message), atomic_folder(tmp_path / place):
        raise AssertionError("the block must not run")


def test_a_file_is_replaced_in_one_step(tmp_path, monkeypatch):
    file = tmp_path / "a.csv"
    write_atomically(file, "old\n")
    replace = os.replace

    def look(partial, target):
        assert file.read_text() == "old\n"
        assert Path(partial).read_text(encoding="utf-8") == "new ä\n"
        replace(partial, target)

    monkeypatch.setattr(os, "replace", look)
    write_atomically(file, "new ä\n")
    assert file.read_bytes() == "new ä\n".encode()
    assert list(tmp_path.iterdir()) == [file]


def test_a_written_file_is_as_readable_as_any_other(tmp_path):
    write_atomically(tmp_path / "file", "text")
    (tmp_path / "other").write_text("text")
    assert (tmp_path / "file").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_an_error_while_a_file_is_written_leaves_the_old_one(tmp_path):
    file = tmp_path / "a.csv"
    file.write_text("old")
    with pytest.raises(RuntimeError, match="half way"), atomic_file(file) as partial:
        partial.write_text("new")
        raise RuntimeError("half way")
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_private_file_is_never_readable_by_others(tmp_path):
    file = tmp_path / "key.csv"
    file.write_text("old")
    with atomic_file(file, private=True) as partial:
        assert partial.stat().st_mode & 0o777 == 0o600
        partial.write_text("new")
    assert file.read_text() == "new"
    assert file.stat().st_mode & 0o777 == 0o600
    write_atomically(tmp_path / "other", "text", private=True)
    assert (tmp_path / "other").stat().st_mode & 0o777 == 0o600


def test_a_name_may_be_as_long_as_the_file_system_allows(tmp_path):
    file = tmp_path / ("ä" * 125 + ".csv")
    write_atomically(file, "text")
    assert list(tmp_path.iterdir()) == [file]
