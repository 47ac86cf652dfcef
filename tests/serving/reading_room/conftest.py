"""A room of generated cases, with every kind of row there is."""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from starlette.testclient import TestClient

from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.trained_model import load_trained
from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app
from a2bgan.serving.reading_room.cases import Case, Cases, Pictures, write_cases
from a2bgan.serving.reading_room.room import Room
from a2bgan.serving.reading_room.uploads import Limits
from a2bgan.serving.reading_room.verdicts import Verdicts
from a2bgan.training.run_folder import RunFolder

SIZE = 32
TOKEN = "a token of the tests"


def make_cases(folder: Path, count: int, pictures: Pictures) -> Cases:
    """Cases 0, 1, ... whose scores rise; the last could not be read."""
    rng = np.random.default_rng(0)

    def cases():
        for k in range(count):
            planes = rng.integers(0, 2**16, (pictures.planes, SIZE, SIZE), dtype=np.uint16)
            broken = k == count - 1
            yield (
                Case(
                    f"images/scan-{k:04d}.png", f"patient-{k // 2}", f"{k:064x}",
                    None if broken else k / count, "damaged file" if broken else "", 0.2,
                ),
                planes,
            )  # fmt: skip

    write_cases(folder, pictures, count, cases())
    return Cases(folder)


@pytest.fixture
def unpacked() -> Callable[[bytes], tuple[dict[str, Any], NDArray[np.uint16], NDArray[Any]]]:
    """A function that returns what `packed_picture` was given: the text, the planes (P, S, S), and
    the levels of the film."""

    def unpack(content: bytes) -> tuple[dict[str, Any], NDArray[np.uint16], NDArray[Any]]:
        length = int.from_bytes(content[:4], "little")
        about = json.loads(content[4 : 4 + length])
        shape, size = about["film"]["levels_shape"], about["film"]["bytes"]
        end = len(content) - size * int(np.prod(shape))
        planes = np.frombuffer(content[4 + length : end], "<u2").reshape(-1, SIZE, SIZE)
        return about, planes, np.frombuffer(content[end:], f"<u{size}").reshape(shape)

    return unpack


@pytest.fixture
def pictures() -> Pictures:
    return Pictures(SIZE, 1, True, True, 0.3)


@pytest.fixture
def make_room(run: Path, tmp_path: Path, pictures: Pictures) -> Iterator[Callable[..., Room]]:
    """A function that makes a room of cases, by default 40, of the tiny trained run."""
    opened = []

    def make(count: int = 40, pictures: Pictures = pictures) -> Room:
        # Other tests write their report into the run.
        others = shutil.ignore_patterns("report*")
        copy = shutil.copytree(run, tmp_path / "run", ignore=others, dirs_exist_ok=True)
        folder = RunFolder.open(copy)
        place = tmp_path / f"room-{len(opened)}"
        place.mkdir()
        trained = load_trained(folder)
        # The tiny run reads nothing that is larger than an icon.
        data = trained.data.model_copy(update={"max_pixels": 10**6})
        trained = replace(trained, config=trained.config.model_copy(update={"data": data}))
        # 39 calibration patients with scores between those of the cases.
        scores = np.sort((np.arange(39) + 0.5) / 40)
        calibration = Calibration(trained.pick, *[scores] * 4, np.arange(len(scores)))
        verdicts = Verdicts(place / "verdicts.sqlite")
        opened.append(verdicts)
        cases = make_cases(place / "cases", count, pictures)
        return Room(folder, place, verdicts, trained, cases, calibration)

    yield make
    for verdicts in opened:
        verdicts.close()


@pytest.fixture
def room(make_room: Callable[..., Room]) -> Room:
    return make_room()


@pytest.fixture
def token() -> str:
    return TOKEN


@pytest.fixture
def logged() -> list[str]:
    """The lines that the server of `client` logged."""
    return []


@pytest.fixture
def client(room: Room, logged: list[str]) -> Iterator[TestClient]:
    """A browser on this machine, before an open room without a token."""
    limits = Limits(upload_bytes=200_000, pixels=300_000, seconds=10)
    app = make_app(room, Access("127.0.0.1", 8080), limits=limits, log=logged.append)
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        yield client


@pytest.fixture
def guarded(room: Room) -> Iterator[TestClient]:
    """Another machine, before a room with a token."""
    app = make_app(room, Access("192.0.2.1", 8080, TOKEN))
    with TestClient(app, base_url="http://192.0.2.1:8080") as client:
        yield client
