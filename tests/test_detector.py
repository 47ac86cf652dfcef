import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError

import tiny_detector
from a2bgan import Detector
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.trained_model import write_selection
from a2bgan.detector import OWN_PARAMETERS, _with_parameters
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder
from tiny_detector import pictures

# Networks this small learn nothing in a few steps, which a Detector says.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# Of few images too some are held out to select by.
SETTINGS = {**tiny_detector.SETTINGS, "holdout.at_most": None}


def make(**changes) -> Detector:
    return tiny_detector.make(**{"steps": 8, "settings": SETTINGS, **changes})


@pytest.fixture(scope="module")
def fitted() -> Detector:
    return make().fit(healthy=pictures(10, 0), mixed=pictures(8, 1))


def test_follows_the_estimator_contract():
    detector = make(seed=3)
    assert detector.get_params()["seed"] == 3
    copy = clone(detector).set_params(seed=4)
    assert copy.get_params() == {**detector.get_params(), "seed": 4}
    for call in (detector.score, detector.translate, detector.anomaly_map):
        with pytest.raises(NotFittedError):
            call(pictures(1, 0))
    with pytest.raises(NotFittedError):
        detector.save("anywhere")


def test_scores_are_the_means_of_the_maps(fitted):
    x = pictures(5, 2, (32, 32))
    scores, maps, twins = fitted.score(x), fitted.anomaly_map(x), fitted.translate(x)
    assert scores.shape == (5,)
    assert maps.shape == (5, 32, 32)  # the size of the images
    assert twins.shape == (5, 1, 32, 32)
    assert 0 <= twins.min() <= twins.max() <= 1
    assert maps.max() > 0
    np.testing.assert_allclose(scores, maps.mean(axis=(1, 2)), rtol=1e-5)


def test_save_and_load_give_the_same_scores(fitted, tmp_path):
    x = pictures(5, 2)
    fitted.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.score(x), fitted.score(x))
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(Detector.load(tmp_path / "again").score(x), fitted.score(x))
    suffixes = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".yaml"}  # no images, no pickles
    with pytest.raises(InputError, match="a run is there"):
        fitted.save(tmp_path / "run")


def test_a_loaded_detector_trains_again_to_the_same_weights(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = clone(Detector.load(tmp_path / "run")).fit(pictures(10, 0), pictures(8, 1))
    np.testing.assert_array_equal(again.score(pictures(5, 2)), fitted.score(pictures(5, 2)))


def test_every_layout_of_the_same_images_scores_the_same(fitted):
    x = pictures(4, 3)
    expected = fitted.score(x)
    for same in (x[..., None], x[:, None], torch.from_numpy(x), list(x), np.stack([x] * 3, -1)):
        np.testing.assert_allclose(fitted.score(same), expected, atol=1e-3)
    floats = torch.from_numpy(x / 255.0).requires_grad_()
    np.testing.assert_allclose(fitted.score(x / 255.0), expected, atol=2e-4)
    np.testing.assert_allclose(fitted.score(floats), expected, atol=2e-4)
    for coarse in (floats.detach().numpy().astype(np.float16), floats.bfloat16()):
        np.testing.assert_allclose(fitted.score(coarse), expected, atol=2e-2)


def test_images_of_several_sizes_come_as_a_list(fitted):
    images = [pictures(1, i, (40 + i, 48))[0] for i in range(3)]
    expected = [fitted.score(image[None])[0] for image in images]
    np.testing.assert_allclose(fitted.score(images), expected, atol=1e-4)


def test_files_and_folders_score_like_their_arrays(fitted, tmp_path):
    x = pictures(3, 4)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(fitted.score(tmp_path), fitted.score(x))
    files = [tmp_path / "2.png", str(tmp_path / "0.png")]
    np.testing.assert_array_equal(fitted.score(files), fitted.score(x[[2, 0]]))
    (tmp_path / "bad.png").write_text("junk")
    with pytest.raises(InputError, match=r"images: .*bad.png: not a PNG"):
        fitted.score(tmp_path)


@pytest.mark.parametrize(
    ("healthy", "message"),
    [
        (np.zeros((0, 40, 40), np.uint8), "healthy: no images were given"),
        ([], "healthy: no images were given"),
        (pictures(1, 0, (40,))[0], r"healthy: expected \(N, H, W\).*got \(40,\)"),
        (pictures(3, 0, (40, 40, 5)), r"healthy: image 0: expected \(H, W\).*got \(40, 40, 5\)"),
        (np.full((3, 40, 40), np.nan), "healthy: image 0: NaN or infinite"),
        (pictures(3, 0).astype(float), r"healthy: image 0: floats must be in \[0, 1\]; for other"),
        (pictures(3, 0).astype(np.int64), "expected uint8, .*, got int64; for other .*=fixed"),
        (pictures(3, 0) > 9, "healthy: image 0: expected numbers, got bool"),
        (np.zeros((3, 40, 40), np.uint8), "healthy: image 0: constant image"),
        (pictures(3, 0, (2, 2)), "healthy: image 0: images must have 8 pixels or more"),
        ([pictures(1, 0)[0], "a.png"], "healthy: image 1 is no array but str"),
        (None, "healthy: expected arrays, a folder, files or a dataset, got Non"),
        (7, "healthy: expected arrays, .* got int"),
        ("nowhere.png", "healthy: nowhere.png: missing file"),
        ("all/manifest.csv", "healthy: all/manifest.csv: a manifest; give a folder"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(healthy, message):
    with pytest.raises(InputError, match=message) as caught:
        make().fit(healthy=healthy, mixed=pictures(3, 1))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"minutes": 1}, "give either steps or minutes"),
        ({"score_name": "best"}, "unknown score 'best': A2B-GAN has mean"),
        ({"settings": ["data.equalize"]}, "settings: expected a dictionary"),
        ({"settings": {"data.size": 64}}, "settings: .data.size. is the parameter size"),
        ({"settings": {"data.equalize": object()}}, "data.equalize: cannot be <object"),
        ({"settings": {"data.sise": 64}}, "data.sise: unknown setting"),
        ({"size": 63}, "configuration: size: size must be a multiple of 4"),
        ({"size": "small"}, "configuration: size: "),
        ({"steps": 0}, "configuration: steps: "),
        ({"steps": None, "minutes": -1}, "configuration: minutes: "),
        ({"seed": -1}, "configuration: seed: "),
        ({"settings": {"train.accelerator": "abacus"}}, "^train.accelerator, devices, nodes or"),
        ({"preset": "fastest"}, "fastest"),
    ],
)
def test_parameters_that_cannot_be_used_are_said_in_one_line(changes, message):
    with pytest.raises(InputError, match=message) as caught:
        make(**changes).fit(healthy=pictures(3, 0), mixed=pictures(3, 1))
    assert_in_words_of_python(str(caught.value))


@pytest.mark.parametrize(
    ("preset", "size", "settings", "message"),
    [
        ("ganomaly", 48, {}, "^size=48: this method halves images"),
        ("autoencoder", 36, {}, "^size=36: an autoencoder with"),
        (
            "padim",
            32,
            {"method.backbone": "resnet18.tv_in1k"},
            "give its path: method.backbone_weights=PATH; or method.backbone=",
        ),
    ],
)
def test_what_a_method_does_not_take_is_said_in_one_line(
    preset, size, settings, message, monkeypatch
):
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    detector = Detector(preset, size=size, steps=2, settings=settings)
    with pytest.raises(InputError, match=message) as caught:
        detector.fit(healthy=pictures(3, 0), mixed=pictures(3, 1))
    assert_in_words_of_python(str(caught.value))


def assert_in_words_of_python(said: str) -> None:
    """One line without options of the command, and without settings that are parameters."""
    assert "\n" not in said and "--" not in said
    assert "'data.size' is" in said or not any(name in said for name in OWN_PARAMETERS)


def test_parameters_may_be_numbers_of_numpy(fitted):
    detector = make(size=np.int64(32), seed=np.int32(0)).fit(pictures(10, 0), pictures(8, 1))
    np.testing.assert_array_equal(detector.score(pictures(3, 2)), fitted.score(pictures(3, 2)))


def test_a_loaded_detector_obeys_new_parameters(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    assert (loaded.size, loaded.steps, loaded.minutes, loaded.seed) == (32, 8, None, 0)
    loaded.set_params(steps=3, seed=5).fit(pictures(10, 0), pictures(8, 1))
    assert (loaded.position_.step, loaded.trained_.config.train.seed) == (3, 5)


def test_p_values_come_from_images_that_were_held_out(fitted, tmp_path):
    x = pictures(5, 2)
    reference = fitted.calibration_.patient_scores
    assert len(reference) == len(fitted.calibration_.image_scores) > 1  # each its own patient
    expected = [(1 + (reference >= s).sum()) / (len(reference) + 1) for s in fitted.score(x)]
    np.testing.assert_allclose(fitted.p_value(x), expected)
    together = fitted.p_value(x, patients=["a", "a", "a", "b", "b"])
    np.testing.assert_allclose(together, [min(expected[:3])] * 3 + [min(expected[3:])] * 2)
    fitted.save(tmp_path / "run")
    np.testing.assert_array_equal(Detector.load(tmp_path / "run").p_value(x), fitted.p_value(x))
    alone = make(settings={**SETTINGS, "holdout.fraction": 0}).fit(pictures(3, 0), pictures(3, 1))
    with pytest.raises(InputError, match="nothing was held out"):
        alone.p_value(x)


def test_regions_are_what_is_above_the_threshold_of_the_map(fitted, tmp_path):
    x = pictures(5, 2, (32, 32))
    maps = fitted.anomaly_map(x)
    count = len(fitted.calibration_.patient_scores)
    with pytest.raises(InputError, match=f"{count} healthy patients were held out, 19 are needed"):
        fitted.regions(x)
    fitted.save(tmp_path / "run")
    detector = Detector.load(tmp_path / "run")
    limit = float(np.sort(maps.max(axis=(1, 2)))[2])
    detector.calibration_ = replace(detector.calibration_, pixel_threshold=limit)
    masks = detector.regions(x)
    assert (masks.shape, masks.dtype) == ((5, 32, 32), bool)
    assert masks.any(axis=(1, 2)).tolist() == (maps.max(axis=(1, 2)) > limit).tolist()
    assert sum(masks.any(axis=(1, 2))) == 2
    np.testing.assert_array_equal(masks[0], find_regions(maps[0], limit))
    detector.save(tmp_path / "again")
    np.testing.assert_array_equal(Detector.load(tmp_path / "again").regions(x), masks)
    detector.calibration_ = None
    with pytest.raises(InputError, match="no regions: nothing was held out for calibration"):
        detector.regions(x)


def test_a_calibration_for_another_score_is_left_out(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    run = RunFolder(tmp_path / "run")
    picked = fitted.trained_.pick
    write_selection(run, replace(picked, score="top-k" if picked.score != "top-k" else "mean"))
    with pytest.warns(UserWarning, match="calibrated for another checkpoint or score") as told:
        loaded = Detector.load(run.path)
    assert told[0].filename == __file__
    assert loaded.calibration_ is None
    with pytest.raises(InputError, match="no p-values"):
        loaded.p_value(pictures(2, 2))
    write_selection(run, picked)
    assert Detector.load(run.path).calibration_ is not None


def test_few_images_are_not_selected_by_and_still_calibrate(fitted):
    small = make(settings={**SETTINGS, "holdout.at_most": 0.15})
    with pytest.warns(UserWarning, match="nothing can be flagged; 19 are needed") as told:
        few = small.fit(pictures(10, 0), pictures(8, 1))
    assert (few.trained_.pick.rule, fitted.trained_.pick.rule) == ("last", "aucp")
    assert few.p_value(pictures(5, 2)).shape == (5,)
    # What can be done is said in the words of Python, at the line that can be changed.
    said = [str(warning.message) for warning in told]
    assert not [sentence for sentence in said if "--" in sentence or "train.minutes" in sentence]
    assert any("train longer: minutes=N" in sentence for sentence in said)
    assert any(sentence.endswith("or with holdout.at_most=None") for sentence in said)
    assert {warning.filename for warning in told} == {__file__}


def test_progress_is_told_in_the_words_of_python(monkeypatch):
    told = []

    @contextmanager
    def bar(config, *, worded):
        told.append(worded("begin anew with train.minutes=4"))
        yield lambda report: None

    monkeypatch.setattr("a2bgan.detector.show_progress", bar)
    make(steps=2).fit(pictures(10, 0), pictures(8, 1), progress=True)
    assert told == ["begin anew with minutes=4"]


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ("method: lower its widths or data.size", "method: lower its widths or size"),
        ("train longer: train.steps=N or train.minutes=N", "train longer: steps=N or minutes=N"),
        (
            "try data.equalize=true; holdout.at_most=null",
            "try data.equalize=True; holdout.at_most=None",
        ),
    ],
)
def test_settings_of_messages_become_what_python_takes(message, said):
    assert _with_parameters(message) == _with_parameters(said) == said
    for other in (
        "/data/train.steps=3",
        "'data.size' is",
        "data.size_by_images",
        "train.steps.csv",
    ):
        assert _with_parameters(other) == other


def test_a_calibration_without_patients_is_a_warning_that_says_what_to_do():
    settings = {**SETTINGS, "holdout.fraction": 0.0, "selection.patience": 2}
    with pytest.warns(ConvergenceWarning, match="no p-values") as told:
        make(settings=settings).fit(pictures(10, 0), pictures(8, 1))
    said = [str(warning.message) for warning in told if "nothing held out" in str(warning.message)]
    assert len(said) == 3  # neither patience, nor selection, nor calibration
    assert all(sentence.endswith("; train with holdout.fraction=0.1") for sentence in said)


def test_images_of_a_patient_are_held_out_together():
    patients = [f"p{i // 5}" for i in range(40)]
    fit = make(steps=2).fit(
        pictures(40, 0), pictures(8, 1), healthy_patients=patients, mixed_patients=None
    )
    assert len(fit.calibration_.image_scores) == 5 * len(fit.calibration_.patient_scores)
    with pytest.raises(InputError, match="healthy: 3 patients for 40 images"):
        make().fit(pictures(40, 0), pictures(8, 1), healthy_patients=["a", "b", "c"])


def test_patients_of_dicom_files_are_known_and_not_named(tmp_path, write_dicom):
    for k, image in enumerate(pictures(40, 0)):
        write_dicom(tmp_path / f"healthy/{k:02d}.dcm", image, PatientID=f"ann-{k // 5}")
    new = tmp_path / "new"
    for k, (image, who) in enumerate(zip(pictures(4, 2), "aab", strict=False)):
        write_dicom(new / f"{k}.dcm", image, PatientID=who)
    detector = make(steps=2).fit(tmp_path / "healthy", pictures(8, 1))
    calibration = detector.calibration_
    assert len(calibration.image_scores) == 5 * len(calibration.patient_scores)
    found = detector.p_value(new)
    np.testing.assert_array_equal(found, detector.p_value(new, patients=["a", "a", "b"]))
    apart = detector.p_value(new, patients=["", "", ""])
    np.testing.assert_allclose(found, [min(apart[:2])] * 2 + [apart[2]])
    files = sorted(new.iterdir())
    np.testing.assert_array_equal(detector.p_value(files), found)
    detector.save(tmp_path / "run")
    for file in (tmp_path / "run").rglob("*"):
        assert file.is_dir() or b"ann-" not in file.read_bytes()


def test_a_training_that_went_wrong_is_a_warning():
    with pytest.warns(ConvergenceWarning, match="healthy from translated"):
        make().fit(healthy=pictures(10, 0), mixed=pictures(8, 1))


def test_importing_the_package_leaves_pytorch_alone():
    code = "import sys, a2bgan; assert 'torch' not in sys.modules; a2bgan.Detector"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_set_is_not_compared_with_itself():
    images = pictures(10, 0)
    with pytest.raises(InputError, match=r"10 images are both in healthy and in mixed"):
        make().fit(images, images)
    with pytest.raises(
        InputError, match=r"1 patient has images both .* \(P1\); or give allow_leaks=True"
    ):
        make().fit(images, pictures(8, 1), healthy_patients=["P1"] * 10, mixed_patients=["P1"] * 8)
    make(steps=2, allow_leaks=True).fit(images, images[:8])
