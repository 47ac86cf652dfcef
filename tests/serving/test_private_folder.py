import errno
from pathlib import Path

import pytest

from a2bgan.errors import InputError
from a2bgan.serving.private_folder import inside
from a2bgan.serving.private_folder import open_private as _open_private


def open_private(folder):
    return _open_private(folder, "reading room", "--room")


def test_a_room_has_one_server_at_a_time(tmp_path):
    folder = tmp_path / "run" / "room"
    with open_private(folder):
        assert folder.stat().st_mode & 0o077 == 0
        (folder / ".cases-x.partial-1").mkdir()
        (folder / ".report-key.csv.partial-1").touch()
        with pytest.raises(InputError, match="another reading room is open here") as said:
            open_private(folder).__enter__()
        assert "\n" not in str(said.value)
    with open_private(folder):
        assert not list(folder.glob(".*.partial-*"))  # what a killed process left


def test_a_place_that_cannot_be_used_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="choose another place with --room"):
        open_private(tmp_path / "file" / "room").__enter__()


def test_a_room_that_others_could_read_is_made_its_owners(tmp_path, monkeypatch):
    folder = tmp_path / "room"
    folder.mkdir()
    folder.chmod(0o755)
    with open_private(folder):
        assert folder.stat().st_mode & 0o777 == 0o700

    folder.chmod(0o750)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "chmod", refuse)
        with pytest.raises(InputError, match="others can read it") as said:
            open_private(folder).__enter__()
    assert str(said.value).endswith("choose another place with --room")
    assert "\n" not in str(said.value)


def refuse(path: Path, mode: int) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted")


def test_a_folder_for_all_users_stays_theirs(tmp_path):
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    with pytest.raises(InputError, match="it is a folder for all users"):
        open_private(folder).__enter__()
    assert folder.stat().st_mode & 0o7777 == 0o1777


def test_only_files_inside_are_inside(tmp_path):
    folder, outside = tmp_path / "in", tmp_path / "out.html"
    folder.mkdir()
    outside.touch()
    (folder / "a.html").touch()
    (folder / "link.html").symlink_to(outside)
    assert inside(folder, folder / "a.html") == folder / "a.html"
    for path in (folder / "link.html", folder / "../out.html", folder, folder / "none"):
        assert inside(folder, path) is None
