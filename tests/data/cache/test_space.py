import os
from pathlib import Path

import pytest

from a2bgan.data.cache import space
from a2bgan.errors import InputError


def make_entry(root: Path, name: str, size: int, used: float) -> Path:
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "images.npy").write_bytes(bytes(size))
    os.utime(folder, (used, used))
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_entry(tmp_path, "images/new", 500, 300.0)
    make_entry(tmp_path, "images/old", 300, 100.0)
    make_entry(tmp_path, "features/middle", 400, 200.0)
    make_entry(tmp_path, "images/.building-x", 900, 1.0)
    return tmp_path


def names(root: Path) -> list[str]:
    return [entry.folder.name for entry in space.stored_entries(root)]


def test_entries_come_by_their_last_use_without_those_under_construction(root: Path) -> None:
    assert names(root) == ["old", "middle", "new"]
    assert [entry.size for entry in space.stored_entries(root)] == [300, 400, 500]
    space.mark_used(root / "images" / "old")
    assert names(root) == ["middle", "new", "old"]
    assert space.stored_entries(root / "nothing") == []


def test_what_was_used_longest_ago_goes_first(root: Path) -> None:
    assert space.prune(root, 1200) == 0
    assert space.prune(root, 900) == 300
    assert names(root) == ["middle", "new"]
    assert space.prune(root, 0, keep=[root / "features" / "middle"]) == 500
    space.mark_used(root / "features" / "middle")
    assert space.prune(root, 0) == 0  # somebody may be about to open it
    assert names(root) == ["middle"]
    assert (root / "images" / ".building-x").exists()


def test_everything_can_go_but_what_is_being_built(root: Path) -> None:
    (root / "content").mkdir()
    (root / "other.txt").write_text("not ours")
    assert space.clear(root) == 1200
    assert sorted(path.name for path in root.iterdir()) == ["features", "images", "other.txt"]
    assert (root / "images" / ".building-x").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("1500", 1500),
        ("1.5kb", 1500),
        ("20 GB", 20 * 10**9),
        ("2T", 2 * 10**12),
        ("7B", 7),
    ],
)
def test_sizes(text: str, expected: int) -> None:
    assert space.parse_size(text, "--prune") == expected


@pytest.mark.parametrize("text", ["", "much", "-1GB", "1PB", "GB"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(InputError, match=r"--prune: .* is not a size; give one such as 500MB"):
        space.parse_size(text, "--prune")
