import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from a2bgan.cli.app import app
from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.errors import InputError


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, ["cache", *arguments])
    if result.exception is not None:
        raise result.exception
    return result.output.replace("\n", " ")


def test_the_cache_is_described_pruned_and_cleared(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "c"
    monkeypatch.setenv("A2BGAN_CACHE", str(root))
    assert "0 lists of images, 0 images, 0 MB" in run()
    files = sorted((tiny_set / "images").glob("*.png"))
    for size in (32, 64):
        load_images(files, [file.name for file in files], DataConfig(size=size))
    assert f"2 lists of images, {2 * len(files)} images" in run()
    oldest = next(iter((root / "images").iterdir()))
    os.utime(oldest, (1, 1))
    assert f"1 lists of images, {len(files)} images" in run("--prune", "1KB")
    assert not oldest.exists()
    assert "0 lists of images" in run("--clear")
    with pytest.raises(InputError, match="either --prune SIZE or --clear"):
        run("--prune", "1GB", "--clear")
