import shutil

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.manifest import open_data
from a2bgan.detection.detector import Detector
from a2bgan.detection.trained import load_trained
from a2bgan.errors import InputError
from a2bgan.serving import cases as module
from a2bgan.serving.cases import Cases, find_cases, open_cases
from a2bgan.training.run_folder import RunFolder


def test_cases_are_the_test_images_with_the_scores_of_the_detector(run, phantoms, tmp_path):
    folder = RunFolder.open(run)
    inputs = find_cases(folder, None)
    rows = open_data(phantoms).split("test")
    assert [i.name for i in inputs] == [row.name for row in rows]
    done = []
    cases = open_cases(tmp_path, folder, load_trained(folder), inputs, done.append)
    assert done == list(range(1, len(rows) + 1))
    detector = Detector.load(run)
    paths = [row.path for row in rows]
    np.testing.assert_allclose([c.score for c in cases.cases], detector.score(paths), rtol=1e-5)
    size = cases.pictures.size
    for k in (0, len(rows) - 1):
        planes = np.frombuffer(cases.pixels(k), "<u2").reshape(3, size, size) / 65535
        np.testing.assert_allclose(planes[1], detector.translate(paths[k])[0, 0], atol=1e-4)
        found = planes[2] * cases.cases[k].peak
        np.testing.assert_allclose(found, detector.difference(paths[k])[0], atol=1e-4)
    text = (next(tmp_path.glob("cases-*")) / "cases.json").read_text()
    assert str(phantoms) not in text
    assert "label" not in text


def test_the_second_start_scores_nothing_until_something_changes(run, tmp_path, make_texture):
    data, room = tmp_path / "data", tmp_path / "room"
    (data / "ward").mkdir(parents=True)
    room.mkdir()
    for k in range(3):
        Image.fromarray(make_texture(k)).save(data / f"ward/{k}.png")
    (data / "ward/broken.png").write_text("no image")
    folder = RunFolder.open(run)
    trained = load_trained(folder)
    done = []

    def opened():
        done.clear()
        return open_cases(room, folder, trained, find_cases(folder, str(data)), done.append)

    first = opened()
    assert len(done) == 4
    assert [c.name for c in first.cases] == [f"ward/{n}.png" for n in (0, 1, 2, "broken")]
    assert first.cases[3].score is None
    assert "damaged" in first.cases[3].error
    again = opened()
    assert done == []
    assert again.cases == first.cases
    Image.fromarray(make_texture(9)).save(data / "ward/1.png")
    changed = opened()
    assert len(done) == 4
    assert [a.score == b.score for a, b in zip(first.cases, changed.cases, strict=True)] == [
        True, False, True, True,
    ]  # fmt: skip
    assert changed.cases[1].digest != first.cases[1].digest


def test_a_full_disk_leaves_nothing_and_is_said(run, tmp_path, monkeypatch):
    folder = RunFolder.open(run)
    trained, inputs = load_trained(folder), find_cases(folder, None)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match="make room"):
            open_cases(tmp_path, folder, trained, inputs)

    def full(prediction):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "planes_of", full)
    with pytest.raises(InputError, match="No space left"):
        open_cases(tmp_path, folder, trained, inputs)
    assert list(tmp_path.iterdir()) == []


def test_damaged_cases_are_said_and_nothing_is_unpickled(room):
    folder = room.folder / "cases"
    np.save(folder / "planes.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged; delete it"):
        Cases(folder)


def test_a_set_without_test_images_is_refused(run, tiny_set):
    text = (tiny_set / "manifest.csv").read_text().splitlines()
    (tiny_set / "none.csv").write_text("\n".join(r for r in text if ",test," not in r) + "\n")
    with pytest.raises(InputError, match="no test images"):
        find_cases(RunFolder.open(run), str(tiny_set / "none.csv"))
