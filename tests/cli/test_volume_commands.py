"""Volumes through the commands: trained on, evaluated by patients, scored, mapped."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass
from sklearn.metrics import roc_auc_score
from typer.testing import Result

from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.pixel_area import pixel_area
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.formats.slice_names import parse_slice, volume_of
from a2bgan.data.generate.phantom_volumes import AFFINES, write_phantom_volumes
from a2bgan.data.holdout import Holdout, HoldoutConfig, hold_out
from a2bgan.data.manifest import read_manifest
from a2bgan.data.open_data import open_data
from a2bgan.data.preprocessing import load_image
from a2bgan.data.volume_rows import expand_volumes
from a2bgan.detection.detection import Detection
from a2bgan.detection.inputs import find_inputs
from a2bgan.detection.pick import Pick
from a2bgan.detection.predict import predict
from a2bgan.report.score_tables import write_predictions

CONFIG = DataConfig(size=32, slices=(0.2, 0.8), skip_empty=0.2)


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("heads") / "set"
    write_phantom_volumes(
        folder, size=32, healthy=6, mixed_normal=2, mixed_abnormal=3, test_normal=2,
        test_abnormal=5,
    )  # fmt: skip
    return folder


def test_rows_of_volumes_become_rows_of_slices(heads: Path) -> None:
    whole = open_data(heads, keep_identifiers=True)
    manifest = expand_volumes(whole, CONFIG)
    assert {volume_of(row.name) for row in manifest.rows} == {row.name for row in whole.rows}
    assert len(manifest.rows) > 8 * len(whole.rows)
    for row in manifest.rows:
        assert row.patient_id == "head-" + Path(volume_of(row.name)).name[:4]
        if row.mask is not None:
            assert volume_of(row.mask) == volume_of(row.path).replace("images", "masks")
            assert str(row.mask).endswith(row.name[-11:])
    # What is written is read back as it was.
    manifest.write(heads / "slices.csv")
    assert read_manifest(heads / "slices.csv") == manifest


def test_all_slices_of_a_patient_are_on_one_side(heads: Path) -> None:
    manifest = expand_volumes(open_data(heads), CONFIG)
    config = HoldoutConfig(fraction=0.2, at_least=2, seed=0)
    held: Holdout = hold_out(manifest, config)
    where: dict[str, set[str]] = {}
    for part in ("training", "selection", "calibration"):
        for row in held.rows(manifest, "healthy", part):
            where.setdefault(row.patient_id, set()).add(part)
    assert all(len(parts) == 1 for parts in where.values())
    assert sorted(next(iter(p)) for p in where.values()).count("selection") == 1
    assert sum(p == {"training"} for p in where.values()) == 4


def test_an_unknown_patient_is_the_volume_and_a_bad_volume_is_named(
    heads: Path, tmp_path: Path
) -> None:
    for split in ("healthy", "mixed"):
        (tmp_path / split / "deep").mkdir(parents=True)
    source = (heads / "images/0000.nii.gz").read_bytes()
    (tmp_path / "healthy/anat.nii.gz").write_bytes(source)
    (tmp_path / "healthy/deep/anat.nii.gz").write_bytes(source)
    (tmp_path / "mixed/cut.nii.gz").write_bytes(source[:3000])
    manifest = expand_volumes(open_data(tmp_path), CONFIG)
    assert {row.patient_id for row in manifest.split("healthy")} == {
        "healthy/anat.nii.gz", "healthy/deep/anat.nii.gz",
    }  # fmt: skip
    (bad,) = manifest.split("mixed")
    loaded = load_images([bad.path], [bad.name], CONFIG, tmp_path / "cache")
    assert [(f.name, f.reason) for f in loaded.failures] == [("mixed/cut.nii.gz", "truncated file")]


@pytest.mark.parametrize(("threads", "kept"), [(1, 1), (8, 6)])
def test_the_cache_holds_what_slices_are_and_reads_each_volume_once(
    heads: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, threads: int, kept: int
) -> None:
    # Of several threads one may be held up until its volume is forgotten: here none is.
    from a2bgan.data.formats import volumes

    monkeypatch.setattr(volumes, "KEPT", kept)
    monkeypatch.setattr("a2bgan.files.ordered_work.THREADS_PAY_ABOVE_BYTES", 0)
    monkeypatch.setattr("os.cpu_count", lambda: threads)
    volumes._RECENT.clear()
    rows = expand_volumes(open_data(heads), CONFIG).split("healthy")
    read: list[Path] = []
    original = volumes._read
    monkeypatch.setattr(volumes, "_read", lambda path: read.append(path) or original(path))
    paths, names = [row.path for row in rows], [row.name for row in rows]
    loaded = load_images(paths, names, CONFIG, tmp_path)
    assert len(read) == len(set(read)) == 6
    assert not loaded.failures
    assert np.array_equal(loaded.images[7], load_image(paths[7], CONFIG))
    assert len(set(loaded.content)) == len(paths)
    read.clear()
    again = load_images(paths, names, CONFIG, tmp_path)
    assert not read
    assert np.array_equal(again.images, loaded.images)


class Brightness:
    """A stand-in for a method: the map marks bright pixels, the score is the map's highest."""

    pick = Pick("none", "ema", "mean", "none", "mean")
    data = CONFIG
    batch_size = 5

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        for images in batches:
            x = images.astype(np.float32) / 127.5 - 1
            maps = ((x[:, 0] + 1) / 2) ** 4
            yield Detection(x, maps.max(axis=(1, 2)), None, maps)


@pytest.mark.parametrize("axis", ["axial", "coronal", "sagittal"])
def test_maps_come_back_to_the_lesion_in_every_kind_of_grid(
    heads: Path, tmp_path: Path, axis: str
) -> None:
    window = {"window": "fixed", "window_low": 1000.0, "window_high": 2000.0}
    model = Brightness()
    model.data = CONFIG.model_copy(update={"volume_axis": axis, "slices": (0, 0.9), **window})
    with (heads / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test" and row["mask"]]
    assert {row["affine"] for row in rows} == set(AFFINES)
    paths = []
    for row in rows:
        # Lesions brighter than anything else, noise for slices without any.
        mask = nib.load(heads / row["mask"])
        noise = np.random.default_rng(0).uniform(0, 150, mask.shape)
        bright = nib.load(heads / row["path"]).get_fdata() + noise + 2000 * mask.get_fdata()
        paths.append(tmp_path / Path(row["path"]).name)
        nib.save(nib.Nifti1Image(bright, mask.affine), paths[-1])
    limit = 0.9  # lesions are the brightest there is
    found = list(predict(model, find_inputs(paths), limit))
    for prediction in found:
        assert prediction.error == ""
        assert prediction.score == pytest.approx(prediction.slices[0].mean())
    write_predictions(found, tmp_path, pictures=None)
    for row, path in zip(rows, paths, strict=True):
        made = nib.load(str(path).replace(".nii.gz", "_anomaly.nii.gz"))
        mask = nib.load(heads / row["mask"])
        assert np.array_equal(made.affine, mask.affine)
        values, lesion = made.get_fdata(), mask.get_fdata() > 0
        right = roc_auc_score(lesion.ravel(), values.ravel())
        assert right > 0.95
        turned = [roc_auc_score(lesion.ravel(), np.flip(values, k).ravel()) for k in range(3)]
        assert np.mean(turned) < right - 0.05
        regions = nib.load(str(path).replace(".nii.gz", "_regions.nii.gz"))
        assert np.array_equal(regions.affine, mask.affine)
        marked = np.asanyarray(regions.dataobj) > 0
        assert np.asanyarray(regions.dataobj).dtype == np.uint8
        assert (marked & lesion).sum() > 0.5 * marked.sum() > 0
        away = center_of_mass(values) - np.array(center_of_mass(lesion))
        assert np.linalg.norm(away * nib.affines.voxel_sizes(mask.affine)) < 5  # mm
        assert not values[lesion == 0].all()  # slices that were left out are zero
    with (tmp_path / "regions.csv").open(newline="") as file:
        listed = list(csv.DictReader(file))
    with (tmp_path / "scores.csv").open(newline="") as file:
        counts = {row["path"]: int(row["n_regions"]) for row in csv.DictReader(file)}
    for prediction in found:
        own = [row for row in listed if volume_of(row["path"]) == prediction.input.name]
        assert 0 < len(own) == counts[prediction.input.name]
        for row in own:
            assert parse_slice(row["path"]).axis == axis
            area = pixel_area(Path(row["path"]))
            assert float(row["area_mm2"]) == pytest.approx(int(row["area_px"]) * area, abs=0.01)
            picture = read_picture(Path(row["path"]), model.data.read_options).values
            box = picture[int(row["y0"]) : int(row["y1"]), int(row["x0"]) : int(row["x1"])]
            assert box.max() > 1900


@pytest.fixture(scope="module")
def trained(
    heads: Path, a2bgan: Callable[..., Result], small: list[str],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:  # fmt: skip
    out = tmp_path_factory.mktemp("runs") / "heads"
    slices = ["--set", "data.slices=[0.3, 0.7]", "--set", "train.checkpoint_every=3"]
    result = a2bgan("train", "--data", heads, "--out", out, *small, *slices)
    assert result.exit_code == 0, result.output
    assert "slices of 18 volumes (axial)" in result.output
    assert re.search(r"select by, \d+ healthy slices of 1 patient for the thres", result.output)
    return out


def test_patients_are_selected_by_and_evaluated(
    trained: Path, a2bgan: Callable[..., Result]
) -> None:
    lines = (trained / "validation.jsonl").read_text().splitlines()
    assert {json.loads(line)["patients"] for line in lines} == {"max", "top-k", "mean"}
    calibration = json.loads((trained / "calibration.json").read_text())
    assert len(calibration["patient_scores"]) < len(calibration["image_scores"])
    result = a2bgan("evaluate", trained)
    assert result.exit_code == 0, result.output
    metrics = json.loads((trained / "metrics.json").read_text())
    assert (metrics["n_patients_normal"], metrics["n_patients_abnormal"]) == (2, 5)
    low, high = metrics["patient_auroc_ci"]
    assert 0 <= low <= metrics["patient_auroc"] <= high <= 1
    # Slices of the diseased without lesion are normal.
    rows = read_manifest(trained / "manifest.csv", heads_of(trained)).split("test")
    assert metrics["n_abnormal"] < sum(row.label == 1 for row in rows)
    assert metrics["pixel_auroc"] is not None


def test_volumes_and_verdicts_on_their_slices_are_labels_to_select_by(
    trained: Path, heads: Path, a2bgan: Callable[..., Result], tmp_path: Path
) -> None:
    run = shutil.copytree(trained, tmp_path / "run")
    whole = a2bgan("select", run, "--by", "labels", "--labels", heads / "manifest.csv")
    assert whole.exit_code == 0, whole.output
    assert re.search(r"\d+ of \d+ labelled images left out: of the run's", whole.output)
    assert "cannot" not in whole.output
    chosen = json.loads((run / "selection.json").read_text())
    # Verdicts of the reading room name slices, and lie far from the volumes.
    slices = read_manifest(trained / "manifest.csv", heads_of(trained)).split("test")
    file = tmp_path / "verdicts.csv"
    lines = [f"{row.name},test,{row.label},{row.patient_id}" for row in slices]
    file.write_text("\n".join(["path,split,label,patient_id", *lines]) + "\n")
    verdicts = a2bgan("select", run, "--by", "labels", "--labels", file)
    assert verdicts.exit_code == 0, verdicts.output
    assert "left out" not in verdicts.output
    again = json.loads((run / "selection.json").read_text())
    assert (again["pick"], again["auroc"]) == (chosen["pick"], chosen["auroc"])


def heads_of(run: Path) -> Path:
    return Path(json.loads((run / "manifest.json").read_text())["root"])


def test_predict_writes_a_row_and_a_map_for_each_volume(
    trained: Path, heads: Path, a2bgan: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "cut.nii.gz").write_bytes((heads / "images/0001.nii.gz").read_bytes()[:2000])
    nib.save(nib.Nifti1Image(np.zeros((9, 9, 9, 4), np.float32), np.eye(4)), tmp_path / "4d.nii")
    good = [heads / "images/0001.nii.gz", heads / "images/0002.nii.gz"]
    result = a2bgan(
        "predict", trained, good[0], tmp_path / "cut.nii.gz", tmp_path / "4d.nii", good[1],
        "--out", tmp_path / "out",
    )  # fmt: skip
    assert result.exit_code == 1
    with (tmp_path / "out/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["error"].split(" (")[0] for row in rows] == ["", "truncated file", "4-D file", ""]
    for row, path in zip((rows[0], rows[3]), good, strict=True):
        assert 0 < float(row["p_value"]) <= 1
        assert (tmp_path / "out" / row["picture"]).is_file()
        image = nib.load(path)
        made = nib.load(tmp_path / "out" / f"{path.name[:4]}_anomaly.nii.gz")
        assert made.shape == image.shape
        assert np.array_equal(made.affine, image.affine)
        assert 0 < np.count_nonzero(made.get_fdata()) < made.get_fdata().size


def test_volumes_are_not_translated_and_it_is_said_what_to_do(
    trained: Path, heads: Path, a2bgan: Callable[..., Result], tmp_path: Path
) -> None:
    head = heads / "images/0001.nii.gz"
    result = a2bgan("translate", trained, head, "--out", tmp_path / "out")
    assert result.exit_code == 1
    said = "volumes cannot be translated; `a2bgan predict` writes their maps"
    assert result.output.count(said) == 1
