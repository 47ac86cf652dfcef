import numpy as np
import pytest

from a2bgan.detection.calibration import (
    Calibration,
    calibrate,
    drift,
    read_calibration,
)
from a2bgan.detection.held_out import HeldOut
from a2bgan.detection.patient_scores import of_patient
from a2bgan.detection.trained import Pick, Trained
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder

PICK = Pick("step-00000007", "ema", "mean", "aucp")
CONFIG = load_config(
    "fast", None, ["data.size=32", "method.translator.width=4", "method.discriminator.width=4"]
)


def make(scores, means=None) -> Calibration:
    scores = np.asarray(scores, dtype=float)
    means = np.zeros_like(scores) if means is None else means
    return Calibration(PICK, np.sort(scores), scores, means, means)


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
    found = calibrate(Trained(method, CONFIG, PICK), HeldOut(images, patients))
    assert (len(found.patient_scores), len(found.image_scores)) == (4, 7)
    np.testing.assert_allclose(found.means, images.reshape(7, -1).mean(1) / 255)
    np.testing.assert_allclose(found.deviations, images.reshape(7, -1).std(1) / 255, rtol=1e-5)
    with pytest.raises(InputError, match="no healthy images were held out"):
        calibrate(Trained(method, CONFIG, PICK), HeldOut(images[:0], patients[:0]))


def test_round_trip_and_what_it_applies_to(tmp_path):
    run = RunFolder(tmp_path)
    assert read_calibration(run) is None
    make([0.1, 0.2]).write(run)
    found = read_calibration(run)
    assert found.patient_scores.tolist() == [0.1, 0.2]
    assert found.applies_to(Pick("step-00000007", "ema", "mean", "named"))
    assert not found.applies_to(Pick("step-00000007", "ema", "top-k", "aucp"))
    run.calibration_file.write_text('{"pick": 3}')
    with pytest.raises(InputError, match="`a2bgan calibrate` makes it anew"):
        read_calibration(run)


def test_drift_is_named_and_sameness_is_not():
    rng = np.random.default_rng(0)
    old = rng.normal(0.4, 0.05, size=200)
    calibration = make(rng.exponential(size=200), old)
    scores, same = rng.exponential(size=60), rng.normal(0.4, 0.05, size=60)
    assert drift(calibration, scores, same, same) == []
    (sentence,) = drift(calibration, scores, same + 0.05, same)
    assert sentence.startswith("brightness of these 60 images differ")
    assert "higher in the median" in sentence
    assert len(drift(calibration, scores + 1, same + 0.05, same - 0.05)) == 3
    assert drift(calibration, scores[:10] + 1, same[:10] + 0.05, same[:10]) == []


def test_drift_is_said_rarely_without_drift():
    rng = np.random.default_rng(1)
    said = 0
    for _ in range(300):
        calibration = make(rng.normal(size=100), rng.normal(size=100))
        said += bool(drift(calibration, *rng.normal(size=(3, 50))))
    assert said <= 9  # 3 are expected at most
