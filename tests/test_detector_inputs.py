"""Every kind of images that a Detector takes gives the scores of the command."""

import csv
import pickle

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils import estimator_checks
from torch.utils.data import Dataset
from typer.testing import CliRunner

from a2bgan import Detector
from a2bgan.cli.app import app
from a2bgan.errors import InputError
from tiny_detector import SETTINGS, make, pictures

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


class Pictures(Dataset):
    """A map-style dataset whose items hold the image as many datasets do."""

    def __init__(self, images, item) -> None:
        self.images, self.item = images, item

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index):
        if index >= len(self):
            raise RuntimeError("read past the end")
        return self.item(self.images[index])


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A detector fitted on files, its run, a folder of new files, and the command's scores."""
    root = tmp_path_factory.mktemp("doors")
    for name, images in (("healthy", pictures(40, 0)), ("mixed", pictures(12, 1))):
        (root / name).mkdir()
        for k, image in enumerate(images):
            Image.fromarray(image).save(root / name / f"{k:02d}.png")
    (root / "new").mkdir()
    for k, image in enumerate(pictures(5, 2)):
        Image.fromarray(image).save(root / "new" / f"{k}.png")
    detector = make().fit(root / "healthy", root / "mixed", out=root / "run")
    arguments = ["predict", str(root / "run"), str(root / "new"), "--score", "mean"]
    done = CliRunner().invoke(app, [*arguments, "--out", str(root / "out")])
    assert done.exit_code == 0, done.output
    with (root / "out/scores.csv").open() as file:
        scores = [float(row["score"]) for row in csv.DictReader(file)]
    return detector, root, np.array(scores)


def test_fitting_folders_is_the_commands_training(tmp_path):
    for name, images in (("healthy", pictures(20, 0)), ("mixed", pictures(8, 1))):
        (tmp_path / name).mkdir()
        for k, image in enumerate(images):
            Image.fromarray(image).save(tmp_path / name / f"{k:02d}.png")
    detector = make(score_name=None).fit(tmp_path / "healthy", tmp_path / "mixed")
    settings = {**SETTINGS, "data.size": 32, "train.steps": 3}
    options = [f"{key}={'null' if value is None else value}" for key, value in settings.items()]
    command = ["train", "--data", str(tmp_path), "--out", str(tmp_path / "run")]
    done = CliRunner().invoke(app, command + [part for one in options for part in ("--set", one)])
    assert done.exit_code == 0, done.output
    assert f"next: a2bgan report {tmp_path / 'run'}" in done.output
    loaded, x = Detector.load(tmp_path / "run"), pictures(5, 2)
    np.testing.assert_array_equal(loaded.score(x), detector.score(x))
    np.testing.assert_array_equal(loaded.p_value(x), detector.p_value(x))


def layouts(root):
    x = pictures(5, 2)
    files = sorted(str(path) for path in (root / "new").iterdir())
    return {
        "folder": root / "new",
        "files": files,
        "column of files": pd.DataFrame({"file": files}, index=[9, 7, 5, 3, 1])["file"],
        "array of files": np.array(files),
        "array": x,
        "channels last": x[..., None],
        "tensor": torch.from_numpy(x),
        "list": list(x),
        "column of arrays": pd.Series(list(x), index=[4, 3, 2, 1, 0]),
        "iterator": iter(x),
        "PIL": [Image.fromarray(image) for image in x],
        "dataset": Pictures(x, lambda image: image),
        "dataset of tensors": Pictures(x, lambda image: torch.from_numpy(image)[None]),
        "dataset of tuples": Pictures(x, lambda image: (image, 1)),
        "dataset of dictionaries": Pictures(x, lambda image: {"image": image, "label": 1}),
    }


def test_every_input_gets_the_commands_scores(run):
    detector, root, expected = run
    for name, images in layouts(root).items():
        np.testing.assert_allclose(detector.score(images), expected, atol=1e-6, err_msg=name)


def test_one_image_is_a_set_of_one(run):
    detector, root, expected = run
    x = pictures(5, 2)
    for one in (
        x[0],
        torch.from_numpy(x[0]),
        Image.fromarray(x[0]),
        root / "new/0.png",
        x[0][..., None],
    ):
        np.testing.assert_allclose(detector.score(one), expected[:1], atol=1e-6)
    colour = np.stack([x[0]] * 3, axis=-1)
    for one in (colour, Image.fromarray(colour)):
        np.testing.assert_allclose(detector.score(one), expected[:1], atol=1e-3)


def test_maps_and_masks_have_the_size_of_the_images(run):
    detector, _, _ = run
    images = [pictures(1, k, (40 + k, 48))[0] for k in range(3)]
    maps = detector.anomaly_map(images)
    assert [each.shape for each in maps] == [image.shape for image in images]
    assert detector.anomaly_map(pictures(2, 0)).shape == (2, 40, 48)
    masks = detector.regions(images) if detector.calibration_.pixel_threshold else None
    assert masks is None or [each.shape for each in masks] == [image.shape for image in images]


def test_numbers_of_any_type_with_a_fixed_window():
    rng = np.random.default_rng(0)
    hounsfield = rng.integers(-1000, 1000, (24, 40, 40))
    fixed = {"data.window": "fixed", "data.window_low": -1000, "data.window_high": 1000}
    detector = make(settings=fixed).fit(hounsfield[:16], hounsfield[16:])
    expected = detector.score(hounsfield[:3].astype(np.float32))
    for kind in (np.int16, np.int32, np.int64, np.float64):
        np.testing.assert_allclose(detector.score(hounsfield[:3].astype(kind)), expected, atol=1e-6)
    with pytest.raises(InputError, match="image 0: NaN or infinite values"):
        detector.score(np.full((1, 40, 40), np.inf))


def test_volumes_are_fitted_by_slices_and_scored_as_one_case(tmp_path):
    rng = np.random.default_rng(0)
    for name, count in (("healthy", 8), ("mixed", 4), ("new", 2)):
        (tmp_path / name).mkdir()
        for k in range(count):
            values = rng.integers(0, 1000, (40, 44, 6)).astype(np.int16)
            nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / name / f"{k}.nii.gz")
    detector = make(settings={"data.skip_empty": 0}).fit(tmp_path / "healthy", tmp_path / "mixed")
    assert detector.calibration_.image_scores.size % 6 == 0
    assert len(detector.calibration_.patient_scores) == detector.calibration_.image_scores.size / 6
    one = detector.score(tmp_path / "new/0.nii.gz")
    assert one.shape == (1,)
    assert detector.score(tmp_path / "new")[0] == pytest.approx(one[0])
    assert detector.anomaly_map(tmp_path / "new").shape == (2, 40, 44, 6)
    assert detector.p_value(tmp_path / "new").shape == (2,)
    frame = detector.to_frame(tmp_path / "new")
    assert frame["name"].tolist() == [str(tmp_path / f"new/{k}.nii.gz") for k in range(2)]


def test_a_series_of_dicom_files_is_one_case(tmp_path, write_dicom):
    rng = np.random.default_rng(0)
    for name, count in (("healthy", 3), ("mixed", 2)):
        for volume in range(count):
            for k in range(4):
                write_dicom(
                    tmp_path / f"{name}/{volume}/{k}.dcm",
                    rng.integers(0, 255, (40, 40), dtype=np.uint8),
                    SeriesInstanceUID=f"1.2.{volume}{len(name)}",
                    ImagePositionPatient=[0, 0, k],
                    ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
                    PixelSpacing=[1, 1],
                    PatientID=f"{name}{volume}",
                )
    settings = {"data.series": "volume", "data.skip_empty": 0, "holdout.fraction": 0}
    detector = make(settings=settings).fit(tmp_path / "healthy", tmp_path / "mixed")
    assert detector.score(tmp_path / "mixed").shape == (2,)
    assert detector.score(tmp_path / "mixed/0").shape == (1,)


def test_a_table_and_figures(run):
    detector, root, expected = run
    frame = detector.to_frame(root / "new", patients=["a", "a", "b", "c", "d"])
    assert list(frame) == ["name", "patient", "score", "p_value", "flagged", "unfamiliar"]
    np.testing.assert_allclose(frame["score"], expected, atol=1e-6)
    assert frame["p_value"].tolist() == detector.p_value(root / "new", list("aabcd")).tolist()
    assert (frame["flagged"] == (frame["p_value"] <= 0.05)).all()
    figure = detector.plot_cases(root / "new", count=2)
    titles = [axes.get_title() for axes in figure.axes]
    highest = sorted((root / "new").iterdir())[int(expected.argmax())]
    assert titles[0].startswith(str(highest))
    assert len(titles) == 6 and titles[1:3] == ["Healthy twin", "Anomaly map"]


def test_a_run_is_kept_resumed_and_not_replaced(tmp_path):
    healthy, mixed, out = pictures(20, 0), pictures(8, 1), tmp_path / "run"
    seen = []

    def stop(report):
        seen.append(report)
        raise KeyboardInterrupt

    settings = {"train.log_every": 1, "train.checkpoint_every": 1}
    with pytest.raises(KeyboardInterrupt):
        make(settings=settings).fit(healthy, mixed, out=out, callbacks=[stop])
    assert seen[0].step == 1 and seen[0].averages
    with pytest.raises(InputError, match="a run is there; resume=True goes on"):
        make(settings=settings).fit(healthy, mixed, out=out)
    with pytest.raises(InputError, match="a run with other settings"):
        make(settings=settings, seed=1).fit(healthy, mixed, out=out, resume=True)
    with pytest.raises(InputError, match="a run that began with other images or patients"):
        make(settings=settings).fit(healthy, pictures(8, 2), out=out, resume=True)
    resumed = make(settings=settings).fit(healthy, mixed, out=out, resume=True)
    whole = make(settings=settings).fit(healthy, mixed)
    np.testing.assert_array_equal(resumed.score(mixed), whole.score(mixed))
    np.testing.assert_array_equal(Detector.load(out).score(mixed), whole.score(mixed))
    with pytest.raises(InputError, match="resume needs out"):
        make().fit(healthy, mixed, resume=True)


def test_a_bar_shows_progress_only_where_somebody_looks(capfd):
    make().fit(pictures(20, 0), pictures(8, 1))
    assert capfd.readouterr().err == ""
    make().fit(pictures(20, 0), pictures(8, 1), progress=True)
    assert "step 3" in "".join(capfd.readouterr())


def test_works_as_scikit_learns_estimators_do(run):
    detector, root, expected = run
    new = root / "new"
    np.testing.assert_allclose(detector.score_samples(new), -expected, atol=1e-6)
    flagged = detector.p_value(new) <= 0.05
    assert detector.predict(new).tolist() == [-1 if f else 1 for f in flagged]
    assert ((detector.decision_function(new) <= 0) == flagged).all()
    x, y = np.concatenate([pictures(16, 0), pictures(8, 1) // 4]), np.repeat([0, 1], [16, 8])
    order = np.random.default_rng(0).permutation(24)
    x, y = x[order], y[order]
    bright = make_pipeline(FunctionTransformer(lambda images: images + 0), make())
    assert bright.fit(x, y).predict(x).shape == (24,)
    aurocs = cross_val_score(bright, x, y, cv=2)
    assert aurocs.shape == (2,) and ((aurocs >= 0) & (aurocs <= 1)).all()
    by_mark = make().fit(x, y)
    by_set = make().fit(x[y == 0], x[y == 1])
    np.testing.assert_array_equal(by_mark.score(x), by_set.score(x))
    copy = pickle.loads(pickle.dumps(by_set))
    np.testing.assert_array_equal(copy.score(x), by_set.score(x))
    for marks, message in (
        (y[:-1], "mixed: expected 24, one for each case"),
        (y + 1, "mixed: expected 0 and 1 only"),
        (np.zeros(24, int), "mixed: no image is marked so"),
    ):
        with pytest.raises(InputError, match=message):
            make().fit(x, marks)
    with pytest.raises(InputError, match="one class only"):
        detector.score(x[:3], [1, 1, 1])


@pytest.mark.parametrize(
    "check",
    [
        estimator_checks.check_estimator_cloneable,
        estimator_checks.check_estimator_repr,
        estimator_checks.check_estimator_tags_renamed,
        estimator_checks.check_do_not_raise_errors_in_init_or_set_params,
        estimator_checks.check_get_params_invariance,
        estimator_checks.check_mixin_order,
        estimator_checks.check_no_attributes_set_in_init,
        estimator_checks.check_parameters_default_constructible,
        estimator_checks.check_set_params,
        estimator_checks.check_valid_tag_types,
    ],
    ids=lambda check: check.__name__,
)
def test_passes_the_checks_of_scikit_learn_that_need_no_table_of_features(check):
    check("Detector", Detector())


def test_evaluates_arrays_as_the_command_evaluates_files(run, tmp_path):
    detector, _, _ = run
    rng = np.random.default_rng(5)
    images, labels = pictures(12, 5), [0] * 6 + [1] * 6
    masks = rng.random((12, 40, 48)) > 0.8
    masks[:6] = False
    lines = ["path,split,label,patient_id,mask"]
    for k, (image, mask) in enumerate(zip(images, masks, strict=True)):
        Image.fromarray(image).save(tmp_path / f"{k:02d}.png")
        Image.fromarray(mask).save(tmp_path / f"m{k:02d}.png")
        lines.append(f"{k:02d}.png,test,{labels[k]},p{k},{f'm{k:02d}.png' if labels[k] else ''}")
    (tmp_path / "manifest.csv").write_text("\n".join(lines) + "\n")
    of_files = detector.evaluate(tmp_path / "manifest.csv")
    of_arrays = detector.evaluate(
        images, labels, masks=list(masks), patients=[f"p{k}" for k in range(12)]
    )
    assert {"auroc", "auroc_ci", "pixel_ap", "dice"} <= of_arrays.metrics.keys() | {"dice"}
    for name, value in of_arrays.metrics.items():
        if isinstance(value, float) and name != "images_per_second":
            assert value == pytest.approx(of_files.metrics[name], abs=1e-6), name
    frame = of_arrays.to_frame()
    assert list(frame) == ["path", "patient_id", "label", "score"] and len(frame) == 12
    assert detector.score(images, labels) == pytest.approx(of_arrays.metrics["auroc"])
    figure = detector.plot_roc(of_arrays)
    assert figure.axes[0].get_ylabel() == "sensitivity"
    with pytest.raises(InputError, match="give labels, or a manifest or a folder"):
        detector.evaluate(images)
    with pytest.raises(InputError, match="masks: expected 12, one for each image, got 3"):
        detector.evaluate(images, labels, masks=list(masks[:3]))


def test_pil_images_are_read_as_their_files_are(run, tmp_path):
    detector, _, _ = run
    deep = np.random.default_rng(7).integers(0, 65535, (40, 48)).astype(np.uint16)
    seen = np.random.default_rng(8).integers(0, 255, (40, 48, 4), dtype=np.uint8)
    turned = Image.fromarray(pictures(1, 9)[0])
    turned.getexif()[274] = 6
    turned.save(tmp_path / "turned.png", exif=turned.getexif())
    Image.fromarray(deep).save(tmp_path / "deep.png")
    Image.fromarray(seen).save(tmp_path / "seen.png")
    for name in ("turned", "deep", "seen"):
        file = tmp_path / f"{name}.png"
        np.testing.assert_allclose(detector.score(Image.open(file)), detector.score(file), 1e-6)
    np.testing.assert_allclose(detector.score(deep.astype(">u2")), detector.score(deep))
    content = (tmp_path / "deep.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match="image 0: truncated file"):
        detector.score(Image.open(tmp_path / "cut.png"))


def test_what_a_callback_raises_is_not_the_disks_fault():
    def lost(report):
        raise ConnectionError("the other end is down")

    with pytest.raises(ConnectionError, match="the other end is down"):
        make().fit(pictures(20, 0), pictures(8, 1), callbacks=[lost])


def test_a_resumed_run_keeps_its_patients_and_its_score(tmp_path):
    healthy, mixed = pictures(20, 0), pictures(8, 1)
    people = [f"p{k // 4}" for k in range(20)]
    out = tmp_path / "run"
    made = make(score_name="top-k").fit(healthy, mixed, healthy_patients=people, out=out)
    with pytest.raises(InputError, match="other images or patients"):
        make(score_name="top-k").fit(healthy, mixed, out=out, resume=True)
    loaded = Detector.load(out)
    assert (loaded.trained_.pick.score, loaded.score_name) == ("top-k", "top-k")
    assert loaded.calibration_ is not None
    np.testing.assert_array_equal(loaded.score(mixed), made.score(mixed))
    again = make(score_name="top-k").fit(
        healthy, mixed, healthy_patients=people, out=out, resume=True
    )
    assert again.details_ == made.details_


def test_masks_have_the_size_of_their_images(run):
    detector, _, _ = run
    x = pictures(2, 0)
    for mask in (np.ones((40, 40)), np.ones((40, 48, 3)), "mask.png"):
        with pytest.raises(InputError, match=r"masks: mask 1: expected an array of \(40, 48\)"):
            detector.evaluate(x, [0, 1], masks=[None, mask])
    assert detector.evaluate(x, [0, 1], masks=[None, np.ones((1, 40, 48))]).metrics["auroc"] >= 0
