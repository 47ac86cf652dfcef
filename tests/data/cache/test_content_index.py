import json
import os
from pathlib import Path
from unittest.mock import Mock

import pytest

from a2bgan.data.cache import content_index
from a2bgan.data.cache.content_index import Content, contents_of


@pytest.fixture
def files(tiny_set: Path) -> list[Path]:
    return sorted((tiny_set / "images").glob("*.png"))[:5]


def look(files: list[Path], folder: Path) -> tuple[list[Content], int]:
    """The contents without the files' states, and the number of files that were hashed."""
    with pytest.MonkeyPatch.context() as patch:
        hash_file = Mock(wraps=content_index._hash_file)
        patch.setattr(content_index, "_hash_file", hash_file)
        found = contents_of(files, folder)
        return [content._replace(state=None) for content in found], hash_file.call_count


def test_only_files_that_changed_are_read_again(files: list[Path], tmp_path: Path) -> None:
    first, hashed = look(files, tmp_path)
    assert hashed == 5
    assert look(files, tmp_path) == (first, 0)
    files[3].write_bytes(files[0].read_bytes())
    files[4].unlink()
    os.utime(files[1], ns=(1, 1))
    second, hashed = look(files, tmp_path)
    assert hashed == 3
    assert second[:3] == first[:3]
    assert second[3] == first[0]
    assert second[4] == Content(None, ".png", None, "missing file")


def test_an_unchanged_file_is_not_opened(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = look(files, tmp_path)
    monkeypatch.setattr(content_index, "open_image_file", lambda path: pytest.fail("opened"))
    assert look(files, tmp_path)[0] == first


@pytest.mark.parametrize("content", ["", "[", "{}", "7", "[1, 2]", '[["x"]]'])
def test_a_damaged_index_is_rebuilt(files: list[Path], tmp_path: Path, content: str) -> None:
    first, _ = look(files, tmp_path)
    (index,) = tmp_path.glob("*.json")
    intact = json.loads(index.read_text())
    index.write_text(content)
    assert look(files, tmp_path)[0] == first
    assert json.loads(index.read_text()) == intact


def test_a_file_of_a_series_that_is_replaced_by_an_older_one_of_its_size_is_seen(
    tmp_path: Path,
) -> None:
    series = tmp_path / "series"
    series.mkdir()
    for number in range(3):
        (series / f"{number}.dcm").write_bytes(b"%d" % number * 100)
        os.utime(series / f"{number}.dcm", ns=(number, 10 + number))
    (first,) = contents_of([series], tmp_path)
    (series / "1.dcm").write_bytes(b"9" * 100)
    os.utime(series / "1.dcm", ns=(1, 5))
    (second,) = contents_of([series], tmp_path)
    assert first.size == second.size == 300
    assert first.sha256 != second.sha256


def test_a_hash_of_a_file_that_changed_meanwhile_is_not_kept(
    files: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "untouched").mkdir()
    first, _ = look(files, tmp_path / "untouched")
    whole, status = files[0].read_bytes(), files[0].stat()
    hash_file = content_index._hash_file

    def hash_another(path: Path) -> tuple[str | None, str]:
        path.write_bytes(files[1].read_bytes())
        found = hash_file(path)
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(
            content_index,
            "_hash_file",
            lambda path: (hash_another if path == files[0] else hash_file)(path),
        )
        contents_of(files, tmp_path)
    assert look(files, tmp_path) == (first, 1)
