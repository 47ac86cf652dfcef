"""Inputs, their names and patients, paths that no system takes, and predictions."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import dicom_of, is_dicom, is_volume
from a2bgan.data.open_data import open_data
from a2bgan.detection.detection import Detection
from a2bgan.detection.inputs import Input, find_inputs
from a2bgan.detection.pick import Pick
from a2bgan.detection.predict import Prediction, predict
from a2bgan.errors import InputError

TOO_LONG = "x" * 300


class Unused:
    """A model of which only the configuration is needed, where no image can be read."""

    pick = Pick("none", "ema", "mean", "none")
    data = DataConfig(size=32)
    batch_size = 4
    fingerprint = ""

    def detect(self, batches):
        for _ in batches:
            raise AssertionError("an image was read")
        yield from ()


def write_set(folder: Path, names: tuple[str, ...] = ("img0.png", "img1.png")) -> Path:
    folder.mkdir()
    for name in names:
        image = np.random.default_rng(len(name)).integers(0, 255, (40, 40), dtype=np.uint8)
        Image.fromarray(image).save(folder / name)
    lines = ["path,split,patient_id", *(f"{name},test," for name in names)]
    (folder / "manifest.csv").write_text("\n".join(lines) + "\n")
    return folder / "manifest.csv"


def test_images_of_two_manifests_are_told_apart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = write_set(tmp_path / "A"), write_set(tmp_path / "B")
    found = find_inputs([one, two])
    assert [item.name for item in found] == [str(item.path) for item in found]
    assert {item.patient_id for item in found} == {""}
    assert len({item.person for item in found}) == 4
    monkeypatch.chdir(tmp_path)
    mixed = find_inputs([Path("A/manifest.csv"), Path("B")])
    assert [item.name for item in mixed] == ["A/img0.png", "A/img1.png", "B/img0.png", "B/img1.png"]
    # The same files by another way are the same people; one manifest alone keeps its names.
    assert {item.person for item in mixed} == {item.person for item in found}
    assert [item.name for item in find_inputs([one])] == ["img0.png", "img1.png"]


def test_volumes_of_two_manifests_are_two_patients(tmp_path: Path) -> None:
    for name in ("A", "B"):
        (tmp_path / name).mkdir()
        rows = "".join(f"head.nii.gz#axial-000{k},test\n" for k in range(2))
        (tmp_path / name / "manifest.csv").write_text("path,split\n" + rows)
    found = find_inputs([tmp_path / "A/manifest.csv", tmp_path / "B/manifest.csv"])
    first, second, third, fourth = (item.person for item in found)
    assert first == second != third == fourth


def test_a_path_that_no_system_takes_is_a_row_with_its_error(tmp_path: Path) -> None:
    named = [tmp_path / f"{TOO_LONG}.png", tmp_path / TOO_LONG, tmp_path / f"{TOO_LONG}.nii"]
    (tmp_path / "m.csv").write_text(f"path,split\n{TOO_LONG}.png,test\n{TOO_LONG}.dcm,test\n")
    found = find_inputs([*named, tmp_path / "m.csv"])
    errors = [p.error for p in predict(Unused(), found)]
    assert errors[0] == errors[1] == errors[3] == errors[4]
    assert errors[0] == "cannot be read (File name too long)"
    assert errors[2] != ""
    with pytest.raises(InputError, match="File name too long"):
        open_data(tmp_path / TOO_LONG)


def test_forbidden_paths_raise_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: object, **_: object) -> object:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "series").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        patch.setattr(os, "listdir", refuse)
        patch.setattr(os, "scandir", refuse)
        for path in (tmp_path / "series", tmp_path / "series/a", tmp_path / "a.png"):
            assert dicom_of(path) == path
            assert not is_dicom(path)
            assert not is_volume(path)
            (item,) = find_inputs([path])
            (prediction,) = predict(Unused(), [item])
            assert prediction.error == "no permission to read the file"


def test_hidden_files_are_no_part_of_a_series(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    image = np.random.default_rng(0).integers(0, 4000, (40, 40), dtype=np.uint16)
    written = write_dicom(tmp_path / "series/a.dcm", image)
    (tmp_path / "series/._a.dcm").write_bytes(b"x")
    assert dicom_of(tmp_path / "series") == written
    (item,) = find_inputs([tmp_path / "series"], series=True)
    assert item.path == tmp_path / "series"
    assert item.patient_id.startswith("PSN-")


def test_results_below_a_searched_folder_are_no_inputs(tmp_path: Path) -> None:
    write_set(tmp_path / "new")
    write_set(tmp_path / "new/results")
    (tmp_path / "link").symlink_to(tmp_path / "new/results")
    for results in (tmp_path / "new/results", tmp_path / "link"):
        found = find_inputs([tmp_path / "new"], results=[results, tmp_path / "elsewhere"])
        assert [item.path.parent for item in found] == [tmp_path / "new"] * 2
        # What is named is taken.
        assert len(find_inputs([tmp_path / "new/results"], results=[results])) == 2
    assert len(find_inputs([tmp_path / "new"], results=[tmp_path])) == 4


def test_a_score_that_is_not_finite_is_no_score(tmp_path: Path) -> None:
    names = ("a.png", "b.png", "c.png")
    for number, name in enumerate(names):
        picture = np.arange(64, dtype=np.uint8).reshape(8, 8) + np.uint8(number)
        Image.fromarray(picture).save(tmp_path / name)

    class Odd(Unused):
        def detect(self, batches):
            for images in batches:
                x = images.astype(np.float32) / 255
                yield Detection(x, np.array([0.5, np.nan, np.inf]), None, None)

    found = list(predict(Odd(), find_inputs([tmp_path])))
    assert [p.score for p in found] == [0.5, None, None]
    assert [p.error for p in found] == ["", "no finite score", "no finite score"]


def test_what_may_pass_is_told_from_what_will_not(tmp_path: Path) -> None:
    (tmp_path / "cut.png").write_bytes(b"x")
    found = find_inputs([tmp_path / "cut.png", tmp_path / "gone.png"])
    assert [p.passing for p in predict(Unused(), found)] == [False, True]


class Bright(Unused):
    """The map is the image itself, the score its highest value."""

    data = DataConfig(size=32, window="full")

    def detect(self, batches):
        for images in batches:
            maps = images[:, 0].astype(np.float32) / 255
            yield Detection(2 * maps[:, None] - 1, maps.max(axis=(1, 2)), None, maps)


def test_regions_are_in_pixels_of_the_original(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    image = np.random.default_rng(0).integers(0, 60, (160, 96), dtype=np.uint8)
    image[60:84, 12:33] = 250
    image[100:112, 60:72] = 200
    Image.fromarray(image).save(tmp_path / "a.png")
    write_dicom(tmp_path / "b.dcm", image, PixelSpacing=[0.5, 0.5])
    Image.fromarray(image // 5).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes(b"x")
    found = list(predict(Bright(), find_inputs([tmp_path]), 0.9))
    for prediction, area in zip(found[:2], (None, 0.25), strict=True):
        ((name, (region,)),) = prediction.regions.items()
        assert name == prediction.input.name
        assert np.abs(np.subtract(region.box, (12, 60, 33, 84))).max() <= 2
        assert region.area == pytest.approx(21 * 24, rel=0.1)
        assert region.share == region.area / image.size
        assert region.peak == pytest.approx(250 / 255, abs=0.02)
        assert prediction.pixel_area == area
        assert prediction.mask.shape == (32, 32) and prediction.mask.any()
    assert found[2].regions == {str(tmp_path / "c.png"): []}
    assert found[3].regions is None and found[3].error
    assert all(p.regions is None and p.mask is None for p in predict(Bright(), [found[0].input]))


def test_an_image_of_a_batch_is_a_prediction_with_what_its_method_makes() -> None:
    item = Input("b", Path("b.png"), "")
    x, twin = np.full((2, 1, 4, 4), -1.0), np.zeros((2, 1, 4, 4))
    x[1] = 1
    scores, maps = np.array([0.25, 0.5]), np.arange(32.0).reshape(2, 4, 4)
    found = Prediction.of(Detection(x, scores, twin, maps), 1, item)
    assert (found.input, found.score, found.error) == (item, 0.5, "")
    np.testing.assert_array_equal(found.image, np.ones((1, 4, 4)))
    np.testing.assert_array_equal(found.twin, np.full((1, 4, 4), 0.5))
    np.testing.assert_array_equal(found.anomaly_map, maps[1])
    bare = Prediction.of(Detection(x, scores, None, None), 0, item)
    assert (bare.score, bare.twin, bare.anomaly_map) == (0.25, None, None)
    np.testing.assert_array_equal(bare.image, np.zeros((1, 4, 4)))
