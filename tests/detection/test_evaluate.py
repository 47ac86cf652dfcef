"""Labels and failures of an evaluation, by the masks that there are."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
from PIL import Image
from scipy.stats import beta

from a2bgan.data.cache.images import StoredForm, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.manifest import read_manifest
from a2bgan.data.open_data import open_data
from a2bgan.data.preprocessing import load_image, load_mask
from a2bgan.data.volume_rows import expand_volumes
from a2bgan.detection.decisions.calibration import Calibration, read_calibration
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.evaluate import at_threshold, evaluate, summarise, with_evaluated_labels
from a2bgan.detection.measures.localisation import MapMeasures
from a2bgan.detection.measures.position import position_alone
from a2bgan.detection.measures.regions import RegionAgreement
from a2bgan.detection.pick import Pick
from a2bgan.detection.trained_model import load_trained
from a2bgan.training.run_folder import RunFolder


def test_a_slice_is_abnormal_however_small_its_lesion(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).integers(100, 900, (64, 64, 12)).astype(np.int16)
    mask = np.zeros(voxels.shape, np.uint8)
    mask[30, 30, 4] = 1  # less than half a pixel at 32 x 32
    mask[10:40, 10:40, 7] = 2
    for name, values in (("head", voxels), ("mask", mask)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), tmp_path / f"{name}.nii.gz")
    (tmp_path / "m.csv").write_text("path,split,label,mask\nhead.nii.gz,test,1,mask.nii.gz\n")
    labels = {}
    for size in (32, 64):
        config = DataConfig(size=size, skip_empty=0)
        rows = expand_volumes(read_manifest(tmp_path / "m.csv"), config).rows
        originals = [StoredForm(64, 64, 1, 32)] * len(rows)
        labelled, masks, failures = with_evaluated_labels(rows, originals, config)
        assert not failures
        labels[size] = [k for k, row in enumerate(labelled) if row.label]
        assert masks[7].has_lesion
        assert masks[4].has_lesion == (size == 64)
    assert labels == {32: [4, 7], 64: [4, 7]}


def test_masks_that_cannot_be_read_are_counted_apart(
    run: Path, tiny_set: Path, make_texture: Callable[[int], np.ndarray]
) -> None:
    rows = open_data(tiny_set).split("test")
    masked = [row for row in rows if row.mask is not None]
    masked[0].mask.write_bytes(b"no mask")
    with Image.open(masked[2].mask) as turned:
        turned.transpose(Image.Transpose.ROTATE_90).save(masked[2].mask)
    (tiny_set / rows[0].name).write_bytes(b"no image")
    Image.fromarray(make_texture(0)).save(tiny_set / masked[1].name)
    found = evaluate(load_trained(RunFolder.open(run)), open_data(tiny_set))
    assert (found.metrics["n_failed"], found.metrics["n_masks_failed"]) == (1, 2)
    assert [failure.name for failure in found.failures] == [rows[0].name]
    failure, other = found.mask_failures
    assert other.name == masked[2].name
    assert other.reason == "mask: 48 x 40 where the image has 40 x 48"
    assert failure.name == masked[0].name
    assert failure.reason.startswith("mask: not a PNG")
    # The image itself counts, its mask does not.
    assert masked[0].name in [row.name for row in found.rows]
    assert len(found.rows) == len(rows) - 1
    assert found.metrics["pixel_auroc"] is not None


def test_regions_are_measured_where_there_is_a_threshold_for_them(run: Path) -> None:
    folder = RunFolder.open(run)
    trained, calibration = load_trained(folder), read_calibration(folder)
    manifest, config = folder.manifest(), trained.config.data
    without = evaluate(trained, manifest, calibration=calibration).metrics
    assert not {"dice", "region_f1", "healthy_with_contour"} & set(without)

    rows = [row for row in manifest.split("test") if row.label is not None]
    images = np.stack([load_image(row.path, config) for row in rows])
    maps = np.concatenate([found.anomaly_map for found in trained.detect_images(images)])
    peaks = maps.max(axis=(1, 2))
    limit = float(np.median(peaks))
    metrics = evaluate(
        trained, manifest, calibration=replace(calibration, pixel_threshold=limit)
    ).metrics
    normal = np.array([row.label == 0 for row in rows])
    assert metrics["healthy_with_contour"] == (peaks[normal] > limit).mean()
    masks = np.zeros(maps.shape, dtype=bool)
    for k, row in enumerate(rows):
        if row.mask is not None:
            masks[k] = load_mask(row.mask, config, (64, 64))
    marked = np.stack([find_regions(each, limit) for each in maps])
    assert metrics["dice"] == 2 * (marked & masks).sum() / (marked.sum() + masks.sum())
    assert metrics["region_f1"] == RegionAgreement.of(marked, masks).region_f1()
    assert {name: metrics[name] for name in without if name != "images_per_second"} == {
        name: value for name, value in without.items() if name != "images_per_second"
    }


def test_normal_images_without_a_mask_file_share_one(tiny_set: Path) -> None:
    rows = open_data(tiny_set).split("test")
    originals = [StoredForm(48, 40, 1, 8)] * len(rows)
    labelled, masks, _ = with_evaluated_labels(rows, originals, DataConfig(size=32))
    normal = [mask for row, mask in zip(labelled, masks, strict=True) if row.label == 0]
    assert len(normal) == 6 and len({id(mask) for mask in normal}) == 1
    assert normal[0].shape == (32, 32) and not normal[0].has_lesion
    assert all(mask.has_lesion for row, mask in zip(labelled, masks, strict=True) if row.label)


def test_the_map_is_measured_beside_a_guess_of_the_usual_place(run: Path, phantoms: Path) -> None:
    found = evaluate(load_trained(RunFolder.open(run)), open_data(phantoms))
    alone = found.metrics["position_alone"]
    assert set(alone) == {"pixel_auroc", "pixel_ap", "aupro", "within_image_auroc", "hit_rate"}
    originals = load_images(
        [row.path for row in found.rows], [row.name for row in found.rows], DataConfig(size=32)
    ).originals
    _, known, _ = with_evaluated_labels(found.rows, originals, DataConfig(size=32))
    masks = np.stack([np.asarray(mask) for mask in known if mask is not None])
    guess = np.stack(list(position_alone(masks, [row.patient_id for row in found.rows])))
    assert alone == MapMeasures.of(guess, masks).by_name()
    for name in alone:
        assert 0 <= found.metrics[name] <= 1 and 0 <= alone[name] <= 1
    # Six lesions cover no place four times and leave it free four times.
    assert found.metrics["position_matched_auroc"] is None
    assert found.metrics["position_matched_auroc_ci"] is None


def test_repeated_runs_keep_the_guess_and_what_is_not_defined(run: Path, phantoms: Path) -> None:
    found = evaluate(load_trained(RunFolder.open(run)), open_data(phantoms))
    other = replace(found, metrics=found.metrics | {"hit_rate": 0.5, "within_image_auroc": 0.7})
    summary = summarise([found, other])
    assert summary["position_alone"] == found.metrics["position_alone"]
    assert summary["position_matched_auroc"] is None
    assert summary["hit_rate"] == (found.metrics["hit_rate"] + 0.5) / 2


def calibration(count: int) -> Calibration:
    scores = np.arange(count, dtype=float)
    pick = Pick("step-00000001", "raw", "mean", "last")
    return Calibration(pick, scores, scores, scores, scores, np.arange(count))


def test_patients_are_flagged_as_p_values_say():
    # Of 39 healthy patients with scores 0 to 38, above 37 is p <= 2 / 40.
    patients = ["a", "a", "b", "c", "d", "e"]
    scores = np.array([0.0, 38.5, 37.5, 99.0, 1.0, 50.0])
    labels = np.array([0, 1, 1, 1, 0, 0])
    found = at_threshold(calibration(39), patients, labels, scores)
    assert found["sensitivity"] == 1.0  # a, b and c
    assert found["specificity"] == 0.5  # d, but not e
    np.testing.assert_allclose(found["sensitivity_ci"], [beta.ppf(0.025, 3, 1), 1])
    low, high = beta.ppf(0.025, 1, 2), beta.ppf(0.975, 2, 1)
    np.testing.assert_allclose(found["specificity_ci"], [low, high])
    assert found["confusion"] == {
        "abnormal_flagged": 3, "abnormal_missed": 0, "normal_flagged": 1, "normal_left_alone": 1
    }  # fmt: skip


def test_nothing_is_said_where_nobody_can_be_flagged():
    assert at_threshold(calibration(18), ["a"], np.array([1]), np.array([99.0])) == {}
