"""What is measured of images, and that no more of them are read than are looked at."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.data.image_statistics import file_statistics, pixel_statistics
from a2bgan.data.manifest import Manifest
from a2bgan.data.open_data import open_data
from a2bgan.detection.audit.trivial_statistics import _drawn, measure_images, preprocessed_statistic
from a2bgan.detection.image_sets import load_rows


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    counts = {"mixed_normal": 1, "mixed_abnormal": 1, "test_normal": 0, "test_abnormal": 0}
    folder = tmp_path_factory.mktemp("phantoms")
    return open_data(write_phantoms(folder, size=48, healthy=60, **counts))


def test_files_and_preprocessed_images_are_measured(phantoms):
    rows = phantoms.split("healthy")[:3]
    for row, found in zip(rows, measure_images(rows, DataConfig(size=32)), strict=True):
        file = np.asarray(Image.open(row.path))
        image = load_images([row.path], [row.name], DataConfig(size=32)).images[0, 0]
        assert found.preprocessed == pytest.approx(pixel_statistics(image))
        assert found.of_file.original == pytest.approx(pixel_statistics(file))
        assert found.of_file.file == pytest.approx(file_statistics(row.path, file))
        assert (found.of_file.format, found.row) == (".png", row)


def test_a_statistic_of_preprocessed_images():
    images = np.random.default_rng(0).integers(0, 65536, (3, 1, 32, 32)).astype(np.uint16)
    found = preprocessed_statistic(images, "mean brightness")
    assert found == pytest.approx(images.mean(axis=(1, 2, 3)) / 65535, abs=1e-6)


def test_only_what_is_looked_at_is_loaded(phantoms, monkeypatch):
    asked = []

    def load(rows, config):
        asked.append(len(rows))
        return load_rows(rows, config)

    monkeypatch.setattr("a2bgan.detection.audit.trivial_statistics.load_rows", load)
    monkeypatch.setattr("a2bgan.detection.audit.trivial_statistics.LOOKED_AT", 20)
    monkeypatch.setattr("a2bgan.detection.audit.trivial_statistics.SPARE", 4)
    healthy = phantoms.split("healthy")
    assert len(measure_images(healthy, DataConfig(size=32))) == 20 and asked == [24]
    drawn = np.sort(np.random.default_rng(0).choice(len(healthy), 20, replace=False))
    rows = [healthy[i] for i in drawn]
    assert _drawn(healthy)[:20] == rows  # those of the whole set, where all can be read
    lost = {row.name for row in rows[:3]}
    kept = [replace(r, path=r.path / "gone") if r.name in lost else r for r in healthy]
    assert len(measure_images(kept, DataConfig(size=32))) == 20
