"""Data sets that are opened by name: phantoms and real manifests."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.open_data import open_data
from a2bgan.errors import InputError


def make_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(path)


def test_phantoms_are_written_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[Path] = []

    def write_few(out: Path) -> Path:
        make_image(out / "a.png")
        (out / "manifest.csv").write_text("path,split\na.png,healthy\n")
        written.append(out)
        return out / "manifest.csv"

    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("a2bgan.data.generate.phantoms.write_phantoms", write_few)
    first, second = open_data("phantom"), open_data("phantom")
    assert first == second
    assert first.root.parent == tmp_path / "cache"
    assert written == [first.root]


def test_phantoms_of_another_process_are_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_the_race(out: Path) -> Path:
        make_image(out / "a.png")
        (out / "manifest.csv").write_text("path,split\na.png,healthy\n")
        raise InputError(f"{out}: is not empty")

    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("a2bgan.data.generate.phantoms.write_phantoms", lose_the_race)
    assert open_data("phantom").counts()["healthy"] == 1


def test_phantoms_that_cannot_be_written_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match="set A2BGAN_CACHE to a folder"):
        open_data("phantom")

    def fail(out: Path) -> Path:
        raise InputError(f"{out}: disk full")

    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("a2bgan.data.generate.phantoms.write_phantoms", fail)
    with pytest.raises(InputError, match="disk full"):
        open_data("phantom")


def test_real_manifests(shared_data: Path) -> None:
    manifest = open_data(shared_data / "chestxray8" / "pneumonia.csv")
    assert manifest.counts() == {"healthy": 227, "mixed": 200, "test": 300, "extra": 273}
    assert all(row.path.is_file() for row in manifest.rows)
