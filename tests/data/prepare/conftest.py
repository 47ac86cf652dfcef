"""Pictures, archives and manifests for the tests of public data sets."""

import csv
import io
import tarfile
import zipfile
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.errors import InputError


@pytest.fixture
def picture() -> Callable[..., bytes]:
    """The bytes of a small picture that differs from number to number."""

    def make(number: int, suffix: str = "png", colour: bool = False) -> bytes:
        shape = (12, 10, 3) if colour else (12, 10)
        pixels = np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)
        data = io.BytesIO()
        Image.fromarray(pixels).save(data, "JPEG" if suffix in ("jpg", "jpeg", "JPG") else "PNG")
        return data.getvalue()

    return make


@pytest.fixture
def put() -> Callable[[Path, str | bytes], Path]:
    """Write a file and the folders above it."""

    def write(path: Path, content: str | bytes) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


@pytest.fixture
def zipped() -> Callable[[dict[str, bytes]], bytes]:
    """The bytes of a zip archive with these members."""

    def make(members: dict[str, bytes]) -> bytes:
        data = io.BytesIO()
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members.items():
                archive.writestr(name, content)
        return data.getvalue()

    return make


@pytest.fixture
def tarred() -> Callable[[dict[str, bytes]], bytes]:
    """The bytes of a tar.gz archive with these members."""

    def make(members: dict[str, bytes]) -> bytes:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w:gz") as archive:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
        return data.getvalue()

    return make


@pytest.fixture
def rows_of() -> Callable[[Path], list[dict[str, str]]]:
    """The rows of the manifest in a folder; all files they name are there."""

    def read(folder: Path) -> list[dict[str, str]]:
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            for column in ("path", "mask"):
                assert not row[column] or (folder / row[column]).is_file()
        return rows

    return read


@pytest.fixture
def shared_patients() -> Callable[[list[dict[str, str]]], set[str]]:
    """Patients with images in more than one split."""

    def find(rows: list[dict[str, str]]) -> set[str]:
        splits = defaultdict(set)
        for row in rows:
            splits[row["patient_id"] or row["path"]].add(row["split"])
        return {patient for patient, its in splits.items() if len(its) > 1}

    return find


@pytest.fixture
def message() -> Callable[..., str]:
    """The one line of the InputError that a call raises."""

    def catch(function: Callable[..., object], *arguments: object, **options: object) -> str:
        with pytest.raises(InputError) as error:
            function(*arguments, **options)
        assert "\n" not in str(error.value)
        return str(error.value)

    return catch
