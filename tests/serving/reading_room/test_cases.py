import shutil

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import CTImageStorage
from starlette.testclient import TestClient

from a2bgan.data.generate.phantom_volumes import write_phantom_volumes
from a2bgan.data.open_data import open_data
from a2bgan.data.preprocessing import load_image
from a2bgan.data.tag_filter import TagFilter
from a2bgan.detection.trained_model import load_trained
from a2bgan.detector import Detector
from a2bgan.errors import InputError
from a2bgan.serving.reading_room import cases as module
from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app
from a2bgan.serving.reading_room.cases import Cases, find_cases, open_cases
from a2bgan.serving.reading_room.room import Room
from a2bgan.serving.reading_room.verdicts import Verdicts
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder


def test_cases_are_the_test_images_with_the_scores_of_the_detector(run, phantoms, tmp_path):
    folder = RunFolder.open(run)
    inputs = find_cases(folder, None)
    rows = open_data(phantoms).split("test")
    assert [i.name for i in inputs] == [row.name for row in rows]
    done = []
    cases = open_cases(tmp_path, load_trained(folder), inputs, done.append)
    assert done == list(range(1, len(rows) + 1))
    detector = Detector.load(run)
    paths = [row.path for row in rows]
    np.testing.assert_allclose([c.score for c in cases.cases], detector.score(paths), rtol=1e-5)
    size = cases.pictures.size
    for k in (0, len(rows) - 1):
        planes = cases.planes(k) / 65535
        assert planes.shape == (3, size, size)
        assert cases.file(k) == rows[k].path
        np.testing.assert_allclose(planes[1], detector.translate(paths[k])[0, 0], atol=1e-4)
        found = planes[2] * cases.cases[k].peak
        (judged,) = detector.trained_.detect_images(
            load_image(paths[k], detector.trained_.data)[None]
        )
        np.testing.assert_allclose(found, judged.anomaly_map[0], atol=1e-4)
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
        return open_cases(room, trained, find_cases(folder, str(data)), done.append)

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


def test_slices_of_volumes_are_read_by_the_content_of_their_volume(run, tmp_path):
    counts = {"healthy": 1, "mixed_normal": 0, "mixed_abnormal": 1}
    heads = tmp_path / "heads"
    write_phantom_volumes(heads, size=32, **counts, test_normal=1, test_abnormal=1)
    folder = RunFolder.open(run)
    trained = load_trained(folder)
    done = []

    def opened():
        done.clear()
        return open_cases(tmp_path, trained, find_cases(folder, str(heads)), done.append)

    cases = opened()
    first = cases.cases
    assert len({case.name.partition("#")[0] for case in first}) == 2 < len(first)
    digests = [case.digest for case in first]
    assert all(digests) and len(set(digests)) == len(first)
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    app = make_app(Room(folder, tmp_path, verdicts, trained, cases), Access("127.0.0.1", 8080))
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        assert client.put("/api/cases/3/verdict", json={"answer": "abnormal"}).status_code == 200
        answers = [case["answer"] for case in client.get("/api/cases?sort=number").json()["cases"]]
    verdicts.close()
    assert answers[:5] == [None, None, None, "abnormal", None] and answers.count(None) > 5
    assert opened().cases == first and done == []
    # Another volume under the same name: its slices alone are others.
    replaced, other = (heads / case.name.partition("#")[0] for case in (first[0], first[-1]))
    replaced.write_bytes(other.read_bytes())
    changed = {case.name: case.digest for case in opened().cases}
    assert done
    same = [changed.get(case.name) == case.digest for case in first]
    assert same == [case.name.startswith("images/" + other.name) for case in first]


VOXELS = np.random.default_rng(0).integers(0, 4096, (6, 48, 40), dtype=np.uint16)
PLACE = {
    "SOPClassUID": CTImageStorage, "Modality": "CT", "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [2, 2], "FrameOfReferenceUID": "1.2.3",
}  # fmt: skip


def write_series(folder, write_dicom):
    """A file for each plane; returns the last one."""
    for k, pixels in enumerate(VOXELS):
        file = folder / f"{k}.dcm"
        write_dicom(file, pixels, **PLACE, ImagePositionPatient=[0, 0, 2 * k])
    return file


def test_a_series_in_a_folder_is_one_case_where_the_run_is_of_volumes(run, tmp_path, write_dicom):
    file = write_series(tmp_path / "data/ward", write_dicom)
    copy = shutil.copytree(run, tmp_path / "run")
    config = copy / "config.yaml"
    config.write_text(config.read_text().replace("series: images", "series: volume"))
    folder = RunFolder.open(copy)
    trained = load_trained(folder)

    def opened():
        return open_cases(tmp_path, trained, find_cases(folder, str(tmp_path / "data")))

    (case,) = opened().cases
    assert case.name == "ward" and case.score is not None and case.digest
    assert case.slice.startswith("#axial-")
    write_dicom(file, VOXELS[0], **PLACE, ImagePositionPatient=[0, 0, 10])
    (changed,) = opened().cases
    assert changed.digest not in ("", case.digest) and changed.score != case.score


def test_a_full_disk_leaves_nothing_and_is_said(run, tmp_path, monkeypatch):
    folder = RunFolder.open(run)
    trained, inputs = load_trained(folder), find_cases(folder, None)
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    with monkeypatch.context() as patch:
        patch.setattr(module.shutil, "disk_usage", lambda path: usage)
        with pytest.raises(InputError, match="make room"):
            open_cases(tmp_path, trained, inputs)

    def full(prediction):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "planes_of", full)
    with pytest.raises(InputError, match="No space left"):
        open_cases(tmp_path, trained, inputs)
    assert list(tmp_path.iterdir()) == []


def test_damaged_cases_are_said_and_nothing_is_unpickled(room):
    folder = room.folder / "cases"
    np.save(folder / "planes.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="damaged; delete it"):
        Cases(folder)


@pytest.mark.parametrize("as_set", [True, False])
def test_only_images_with_the_tags_are_read(run, write_dicom, make_texture, tmp_path, as_set):
    folder = tmp_path / "test" / "normal" if as_set else tmp_path / "new"
    for number in range(6):
        write_dicom(
            folder / f"{number}.dcm", make_texture(number),
            ViewPosition="PA" if number < 4 else "AP",
        )  # fmt: skip
    data = tmp_path if as_set else folder
    found = find_cases(RunFolder.open(run), str(data), TagFilter("ViewPosition=PA"))
    assert [i.path.name for i in found] == ["0.dcm", "1.dcm", "2.dcm", "3.dcm"]


@pytest.mark.parametrize("place", ["test/normal/one", "ward/one"])
def test_tags_of_volumes_are_looked_at_before_they_are_slices(tmp_path, write_dicom, place):
    config = load_config("fast", None, ["data.series=volume", "data.skip_empty=0"])
    run, data = RunFolder.create(tmp_path / "run", config), tmp_path / "data"
    write_series(data / place, write_dicom)
    found = find_cases(run, str(data), TagFilter("Modality=CT"))
    assert len(found) == (6 if place.startswith("test") else 1)
    assert found == find_cases(run, str(data))
    with pytest.raises(InputError, match="--where Modality=MR: 0 of"):
        find_cases(run, str(data), TagFilter("Modality=MR"))


def test_a_set_without_test_images_is_refused(run, tiny_set):
    text = (tiny_set / "manifest.csv").read_text().splitlines()
    (tiny_set / "none.csv").write_text("\n".join(r for r in text if ",test," not in r) + "\n")
    with pytest.raises(InputError, match="no test images"):
        find_cases(RunFolder.open(run), str(tiny_set / "none.csv"))
