"""Which files of a folder are images, by links, hidden files and folders that cannot be read."""

import os
from pathlib import Path

import pytest

from a2bgan.data.folder_layout import scan_folder
from a2bgan.data.formats.image_search import images_below
from a2bgan.detection.inputs import find_inputs
from a2bgan.errors import InputError


def make(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"x")


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> str:
    """The name of folders that cannot be listed, even by root."""
    scan = os.scandir

    def refuse(path: str = ".") -> object:
        if os.path.basename(path) == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return "locked"


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "set", tmp_path / "elsewhere"
    make(folder / "real/a.png", elsewhere / "b.png", elsewhere / "deep/c.png")
    (folder / "0-first").symlink_to("real")  # before what it leads to, in any order of names
    (folder / "1-out").symlink_to(elsewhere)
    (folder / "2-again").symlink_to(elsewhere)
    (folder / "real/up").symlink_to(folder)
    (folder / "real/self").symlink_to("self")
    expected = [folder / name for name in ("1-out/b.png", "1-out/deep/c.png", "real/a.png")]
    assert sorted(images_below(folder)) == expected
    assert [item.path for item in find_inputs([folder])] == expected


def test_a_linked_folder_of_a_set_is_followed_and_may_not_lead_out(tmp_path: Path) -> None:
    make(tmp_path / "set/healthy/a.png", tmp_path / "set/store/b.png", tmp_path / "out/c.png")
    (tmp_path / "set/healthy/more").symlink_to(tmp_path / "set/store")
    names = [row.name for row in scan_folder(tmp_path / "set").rows]
    assert names == ["healthy/a.png", "healthy/more/b.png"]
    (tmp_path / "set/healthy/out").symlink_to(tmp_path / "out")
    with pytest.raises(InputError, match=r"'healthy/out/c\.png' is a link out of"):
        scan_folder(tmp_path / "set")


def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path, unreadable: str) -> None:
    make(tmp_path / "healthy/a.png", tmp_path / "healthy" / unreadable / "b.png")
    for search in (scan_folder, lambda folder: find_inputs([folder])):
        with pytest.raises(InputError, match=r"/locked: cannot be read \(Permission denied\)$"):
            search(tmp_path)


def test_hidden_files_and_folders_are_no_images_for_anybody(tmp_path: Path) -> None:
    make(*(tmp_path / "healthy" / name for name in ("a.png", "._a.png", ".trash/b.png", "._c.dcm")))
    assert [row.name for row in scan_folder(tmp_path).rows] == ["healthy/a.png"]
    assert [item.path for item in find_inputs([tmp_path])] == [tmp_path / "healthy/a.png"]
    # What is named is tried.
    named = tmp_path / "healthy/._a.png"
    assert [item.path for item in find_inputs([named])] == [named]
