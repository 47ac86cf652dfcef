import json
import os
from dataclasses import replace

import numpy as np
import pytest
import torch

from a2bgan.detection.decisions.calibration import (
    Calibration,
    calibrate,
    drift,
    intensities,
    read_calibration,
    usable_calibration,
)
from a2bgan.detection.image_sets import ImageSet
from a2bgan.detection.patient_scores import of_patient
from a2bgan.detection.pick import Pick
from a2bgan.detection.trained_model import Trained, read_selection, write_selection
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder

PICK = Pick("step-00000007", "raw", "mean", "aucp")
CONFIG = load_config(
    "fast", None, ["data.size=32", "method.translator.width=4", "method.discriminator.width=4"]
)


def make(scores, means=None, patients=None) -> Calibration:
    scores = np.asarray(scores, dtype=float)
    means = np.zeros_like(scores) if means is None else means
    patients = np.arange(len(scores)) if patients is None else patients
    return Calibration(PICK, np.sort(scores), scores, means, means, patients)


def test_a_patient_s_highest_score_counts_and_the_unknown_stand_alone():
    scores = np.array([0.1, 0.5, 0.2, 0.3, 0.4])
    found = of_patient(["a", "a", "b", "", ""], scores)
    assert found.tolist() == [0.5, 0.5, 0.2, 0.3, 0.4]
    calibration = make(np.linspace(0, 1, 99))
    p = calibration.p_values(["a", "a", "b", "", ""], scores)
    assert p[0] == p[1] < p[4] < p[3] < p[2]


def test_images_are_scored_and_patients_counted_once():
    method = CONFIG.build_method()
    images = np.random.default_rng(0).integers(0, 255, (7, 1, 32, 32), dtype=np.uint8)
    patients = np.array(["a", "a", "b", "c", "c", "c", "d"])
    found = calibrate(Trained(method, CONFIG, PICK), ImageSet(images, patients))
    assert (len(found.patient_scores), len(found.image_scores)) == (4, 7)
    np.testing.assert_allclose(found.means, images.reshape(7, -1).mean(1) / 255, atol=1e-6)
    np.testing.assert_allclose(found.deviations, images.reshape(7, -1).std(1) / 255, atol=1e-6)
    assert found.image_patients.tolist() == [0, 0, 1, 2, 2, 2, 3]
    with pytest.raises(InputError, match="no healthy images were held out"):
        calibrate(Trained(method, CONFIG, PICK), ImageSet(images[:0], patients[:0]))


def test_round_trip_and_what_it_applies_to(tmp_path):
    run = RunFolder(tmp_path)
    assert read_calibration(run) is None
    assert usable_calibration(run, PICK) is None
    made = replace(make([0.1, 0.2]), pixel_threshold=float(np.float32(0.1)))
    made.write(run)
    found = read_calibration(run)
    assert found.patient_scores.tolist() == [0.1, 0.2]
    assert found.pixel_threshold == made.pixel_threshold
    written = json.loads(run.calibration_file.read_text())
    del written["image_patients"], written["pixel_threshold"]  # as older versions wrote it
    assert Calibration.from_dict(written).image_patients.tolist() == [0, 1]
    assert Calibration.from_dict(written).pixel_threshold is None
    assert found.applies_to(Pick("step-00000007", "raw", "mean", "named"))
    assert not found.applies_to(Pick("step-00000007", "raw", "top-k", "aucp"))
    assert usable_calibration(run, replace(PICK, rule="named")) is not None
    assert usable_calibration(run, replace(PICK, score="top-k")) is None
    run.calibration_file.write_text('{"pick": 3}')
    with pytest.raises(InputError, match="`a2bgan calibrate` makes it anew"):
        read_calibration(run)


def test_drift_is_named_and_sameness_is_not():
    rng = np.random.default_rng(0)
    old = rng.normal(0.4, 0.05, size=200)
    calibration = make(rng.exponential(size=200), old)
    scores, same = rng.exponential(size=60), rng.normal(0.4, 0.05, size=60)
    people = [f"p{k}" for k in range(60)]
    assert drift(calibration, people, scores, same, same) == []
    (sentence,) = drift(calibration, people, scores, same + 0.05, same)
    assert sentence.startswith("brightness of these 60 patients: mostly higher than")
    assert len(drift(calibration, people, scores + 1, same + 0.05, same - 0.05)) == 3
    assert drift(calibration, people[:10], scores[:10] + 1, same[:10] + 0.05, same[:10]) == []
    three = np.repeat(["one", "two", "three"], 20)
    (sentence,) = drift(calibration, three, scores + 1, same + 0.05, same)
    assert "20 images each in the median, those of calibration 1, and the score" in sentence


def test_the_direction_of_a_drift_is_right_where_medians_are_equal():
    old, scores = np.full(100, 0.4), np.random.default_rng(0).exponential(size=100)
    new = np.where(np.arange(100) < 40, 0.5, 0.4)
    for brighter, calibrated, direction in ((new, old, "higher"), (old, new, "lower")):
        (sentence,) = drift(make(scores, calibrated), np.arange(100), scores, brighter, calibrated)
        assert sentence.startswith(f"brightness of these 100 patients: mostly {direction} than")


def test_scores_that_are_not_finite_are_no_calibration():
    trained = Trained(CONFIG.build_method(), CONFIG, PICK)
    images = np.random.default_rng(0).integers(0, 255, (3, 1, 32, 32), dtype=np.uint8)
    torch.nn.init.constant_(trained.method.networks["translator"].head.bias, torch.nan)
    with pytest.raises(InputError, match="3 held-out images have no finite score"):
        calibrate(trained, ImageSet(images, np.array(["a", "b", "c"])))


def test_another_number_of_images_a_patient_is_said():
    def said(old: list[int], new: list[int]) -> list[str]:
        """The sentences about patients with so many images each."""
        who = np.repeat(np.arange(len(old)), old)
        calibration = replace(
            make(np.zeros(len(who)), patients=who), patient_scores=np.zeros(len(old))
        )
        zeros = np.zeros(sum(new))
        return drift(calibration, np.repeat(np.arange(len(new)), new), zeros, zeros, zeros)

    assert said([5] * 40, [5] * 30) == said([1, 1, 1, 9], [1, 1, 5]) == said([20], [22]) == []
    (more,) = said([1] * 40, [5] * 30)
    assert more.startswith("these patients have 5 images each in the median, those of calibration")
    (fewer,) = said([5, 5, 4], [1])
    assert "have 1 image each in the median, those of calibration 5" in fewer
    # Older files do not say whose images are whose.
    zeros = np.zeros(9)
    unknown = replace(make(np.zeros(10)), patient_scores=np.zeros(5))
    assert drift(unknown, np.zeros(9), zeros, zeros, zeros) == []


@pytest.mark.parametrize("images", [1, 10])
def test_drift_is_said_rarely_without_drift(images):
    """A patient's images are alike: only patients are independent."""
    rng = np.random.default_rng(1)

    def of(patients: int) -> tuple[np.ndarray, np.ndarray]:
        """Three numbers for each image, and whose it is."""
        who = np.repeat(np.arange(patients), images)
        shape = 3, patients
        return rng.normal(size=shape)[:, who] + rng.normal(size=(3, len(who))), who

    said = 0
    for _ in range(300):
        (scores, means, _), who = of(100)
        values, people = of(50)
        said += bool(drift(make(scores, means, who), people, *values))
    assert said <= 9  # 3 are expected at most


def test_images_with_equal_histograms_do_not_drift():
    rng = np.random.default_rng(0)
    levels = np.arange(32 * 32).astype(np.uint8)
    images = np.stack([rng.permutation(levels).reshape(1, 32, 32) for _ in range(60)])
    method = CONFIG.build_method()
    patients = np.array([f"p{k}" for k in range(30)])
    calibration = calibrate(Trained(method, CONFIG, PICK), ImageSet(images[:30], patients))
    new = [images[30:] / np.float32(255), (images[30:] / 127.5 - 1).astype(np.float32) / 2 + 0.5]
    for pixels in new:
        means, deviations = intensities(pixels)
        assert drift(calibration, patients, calibration.image_scores, means, deviations) == []


def test_calibration_and_selection_are_there_whole_or_as_before(tmp_path, monkeypatch):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    make([0.1, 0.2]).write(run)
    write_selection(run, PICK)

    def refuse(*arguments):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        for write in (lambda: make([0.3]).write(run), lambda: write_selection(run, PICK, fid=3)):
            with pytest.raises(OSError, match="No space"):
                write()
    assert read_calibration(run).image_scores.tolist() == [0.1, 0.2]
    assert "fid" not in read_selection(run)


def test_the_pixel_threshold_is_of_the_highest_map_value_of_each_image(tmp_path):
    method = CONFIG.build_method()
    torch.manual_seed(0)
    torch.nn.init.normal_(method.networks["translator"].head.weight)  # as built it changes nothing
    trained = Trained(method, CONFIG, PICK)
    images = np.random.default_rng(0).integers(0, 255, (42, 1, 32, 32), dtype=np.uint8)
    patients = np.array([f"p{k // 2}" for k in range(42)])  # 21 of them
    found = calibrate(trained, ImageSet(images, patients))
    maps = np.concatenate([batch.anomaly_map for batch in trained.detect_images(images)])
    peaks = np.sort(maps.reshape(42, -1).max(1))
    assert len(set(peaks)) == 42
    assert found.pixel_threshold == peaks[-2]  # two of 43 are 4.7 %, three would be 7 %
    assert sum((each > found.pixel_threshold).any() for each in maps) == 1  # the highest itself
    few = calibrate(trained, ImageSet(images[:18], patients[:18]))
    assert few.pixel_threshold is None
    run = RunFolder(tmp_path)
    few.write(run)
    assert json.loads(run.calibration_file.read_text())["pixel_threshold"] is None
    assert read_calibration(run).pixel_threshold is None
