"""A package that adds a method, a preset and a reader, through the command and its runs."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan import extensions
from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, ReadOptions
from a2bgan.data.formats.reading import read_picture
from a2bgan.errors import InputError
from a2bgan.training.config import load_config

PACKAGE = Path(__file__).parent / "extension_package"


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The example package on the path, as an installer leaves it."""
    site = shutil.copytree(PACKAGE, tmp_path / "site")
    info = site / "a2bgan_example-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: a2bgan-example\nVersion: 1.0\n")
    groups = (PACKAGE / "pyproject.toml").read_text().split("[project.entry-points.")[1:]
    points = "[" + "[".join(groups).replace('"', "").replace(" = ", "=")
    (info / "entry_points.txt").write_text(points)
    monkeypatch.syspath_prepend(str(site))
    forget()
    yield site
    forget()


def forget() -> None:
    extensions.added.cache_clear()
    extensions.load.cache_clear()
    for name in [name for name in sys.modules if name.startswith("a2bgan_example")]:
        del sys.modules[name]


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    header = np.array(image.shape[::-1], "<u2").tobytes()
    path.write_bytes(header + image.tobytes())
    return path


def test_an_added_method_trains_and_its_run_is_used_by_other_processes(installed, tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("healthy", 20), ("mixed", 8), ("new", 2)):
        for k in range(count):
            image = rng.integers(90, 110, (40, 40), dtype=np.uint8)
            image[:10] = 250 if (name, k) == ("new", 1) else image[:10]
            save(tmp_path / f"data/{name}/{k:02d}.gray8", image)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed), *sys.path])}

    def a2bgan(*arguments: object) -> str:
        command = [sys.executable, "-m", "a2bgan", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    options = ("--preset", "mean_image", "--set", "data.size=32", "--set", "data.window=full")
    a2bgan("train", "--data", tmp_path / "data", "--out", tmp_path / "run", *options)
    a2bgan("predict", tmp_path / "run", tmp_path / "data/new", "--out", tmp_path / "out")
    rows = (tmp_path / "out/scores.csv").read_text().splitlines()[1:]
    scores = [float(row.split(",")[2]) for row in rows]
    assert scores[1] > 2 * scores[0]
    assert "mean_image" in a2bgan("methods")


def test_without_the_package_its_runs_say_what_is_missing(installed, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: mean_image\ndata: {size: 32}\n")
    config = load_config(str(tmp_path / "mine.yaml"))
    assert (config.method.name, config.data.size, config.facts.title) == (
        "mean_image", 32, "Mean image",
    )  # fmt: skip
    sys.path.remove(str(installed))
    forget()
    with pytest.raises(InputError, match=r"unknown method 'mean_image'.* the package that"):
        load_config("pu", None, ["method={name: mean_image}"])


def test_an_added_reader_reads_and_its_faults_are_those_of_the_file(installed, tmp_path):
    image = np.arange(100, dtype=np.uint8).reshape(10, 10)
    path = save(tmp_path / "a.gray8", image)
    np.testing.assert_array_equal(read_picture(path, ReadOptions(1000)).values, image)
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(ImageError, match="truncated file"):
        read_picture(path, ReadOptions(1000))
    path.write_bytes(b"a")
    with pytest.raises(ImageError, match="damaged file"):
        read_picture(path, ReadOptions(1000))
    with pytest.raises(ImageError, match="too large"):
        read_picture(save(tmp_path / "b.gray8", image), ReadOptions(50))


def test_a_package_that_cannot_be_loaded_is_named(installed):
    (installed / "a2bgan_example/mean_image.py").write_text("import nothing_like_it")
    with pytest.raises(InputError, match="mean_image, of a2bgan-example: cannot be loaded"):
        load_config("mean_image")


def test_presets_by_path(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: fast\ntrain: {minutes: 3}\n")
    (tmp_path / "round.yaml").write_text(f"extends: {tmp_path / 'round.yaml'}\n")
    assert load_config(str(tmp_path / "a.yaml")).train.minutes == 3
    with pytest.raises(InputError, match="extend each other, without end"):
        load_config(str(tmp_path / "round.yaml"))
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_config("none.yaml")
    for name in ("../fast", "fastt"):
        with pytest.raises(InputError, match="unknown preset"):
            load_config(name)
    with pytest.raises(InputError, match="did you mean fast"):
        load_config("fastt")


def test_another_version_of_a_reader_reads_its_images_again(installed, tmp_path):
    config, cache = DataConfig(size=32, window="full"), tmp_path / "cache"
    rng = np.random.default_rng(0)
    file = save(tmp_path / "0.gray8", rng.integers(0, 255, (32, 32), dtype=np.uint8))
    picture = tmp_path / "1.png"
    Image.fromarray(rng.integers(0, 255, (32, 32), dtype=np.uint8)).save(picture)

    def stored() -> set[str]:
        for some in ([file], [picture]):
            load_images(some, [path.name for path in some], config, cache)
        return {entry.name for entry in (cache / "images").iterdir()}

    before = stored()
    assert stored() == before
    metadata = installed / "a2bgan_example-1.0.dist-info" / "METADATA"
    metadata.write_text(metadata.read_text().replace("Version: 1.0", "Version: 1.1"))
    forget()
    assert len(stored() - before) == 1  # the PNG is not read again
