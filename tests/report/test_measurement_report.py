"""Structured reports: their values and references, read back with other software."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import CTImageStorage
from skimage.draw import polygon

from a2bgan.data.config import DataConfig
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import Prediction
from a2bgan.report.dicom_results import MARK, DicomObjects, DicomResults
from a2bgan.report.measurement_report import FLAGGED, P_VALUE, SCORE, THRESHOLD, outlines

Write = Callable[..., Path]
CONFIG = DataConfig(size=32)
CT = {
    "SOPClassUID": CTImageStorage,
    "Modality": "CT",
    "FrameOfReferenceUID": "1.2.3.4",
    "ImagePositionPatient": [-10, 20, 30.5],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [0.5, 0.25],
    "SliceThickness": 2,
}


def prediction_of(path: Path, boxes: tuple[tuple[int, int, int, int], ...] = ()) -> Prediction:
    """With a region in each box (top, left, bottom, right) of the map."""
    image = np.zeros((1, 32, 32), dtype=np.float32)
    anomaly, mask = np.zeros((32, 32), np.float32), np.zeros((32, 32), dtype=bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    anomaly[mask] = 0.5
    who = "PSN-0123456789ABCDEF"
    return Prediction(Input(str(path), path, who), 0.25, image, image, anomaly, mask=mask)


def write_results(predictions: list[Prediction], out: Path) -> tuple[DicomResults, list[Path]]:
    results = DicomResults(out, DicomObjects(CONFIG, vmax=0.3))
    list(results.passing(predictions))
    assert results.left_out == []
    return results, sorted(out.rglob("report-*.dcm"))


def groups_of(file: Path) -> tuple[hd.sr.MeasurementReport, dict[str, Dataset]]:
    """The report as highdicom reads it, and its groups by their tracking identifiers."""
    content = hd.sr.srread(file).content
    found = [
        *content.get_image_measurement_groups(),
        *content.get_volumetric_roi_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
    ]
    return content, {str(group.tracking_identifier): group for group in found}


def numbers_of(group: Dataset) -> dict[str, float]:
    return {measure.name.meaning: measure.value for measure in group.get_measurements()}


def check(file: Path) -> None:
    """Fail where other software finds an error; skip where there is none."""
    if shutil.which("dciodvfy") is None or shutil.which("dsrdump") is None:
        pytest.skip("dciodvfy (dicom3tools) or dsrdump (DCMTK) is not installed")
    checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
    assert "Error" not in checked.stderr, checked.stderr
    dumped = subprocess.run(["dsrdump", "-Er", file], capture_output=True, text=True)
    assert dumped.returncode == 0 and MARK in dumped.stdout, dumped.stderr


@pytest.mark.parametrize("elements", [{}, CT], ids=["xray", "ct"])
def test_score_p_value_and_flag_can_be_read_back(
    tmp_path: Path, write_dicom: Write, elements: dict[str, object]
) -> None:
    rng = np.random.default_rng(0)
    paths = []
    for name in "ab":
        pixels = rng.integers(0, 4096, (96, 64), dtype=np.uint16)
        paths.append(write_dicom(tmp_path / f"{name}.dcm", pixels, **elements))
    results, files = write_results([prediction_of(path) for path in paths], tmp_path / "out")
    before = pydicom.dcmread(files[0])
    assert before.CompletionFlag == "PARTIAL"
    assert list(numbers_of(groups_of(files[0])[1]["image"])) == [SCORE.meaning]
    results.add_p_values([0.02, 0.4], rate=0.05)
    for path, file, p_value, flagged in zip(paths, files, (0.02, 0.4), "YN", strict=True):
        _, groups = groups_of(file)
        image = groups["image"]
        assert numbers_of(image) == {
            SCORE.meaning: 0.25, P_VALUE.meaning: p_value, THRESHOLD.meaning: 0.05,
        }  # fmt: skip
        (evaluation,) = image.get_qualitative_evaluations(FLAGGED)
        assert evaluation.value == (codes.SCT.Yes if flagged == "Y" else codes.SCT.No)
        (source,) = image.source_images
        assert source.referenced_sop_instance_uid == pydicom.dcmread(path).SOPInstanceUID
        made = pydicom.dcmread(file)
        assert (made.CompletionFlag, made.VerificationFlag) == ("COMPLETE", "UNVERIFIED")
        assert made.Modality == "SR" and MARK in made.SeriesDescription
        assert made.PatientID == "PSN-0123456789ABCDEF"
        for private in (b"Doe", b"MRN-0815", b"19700101", b"ACC-17", b"Roe"):
            assert private not in file.read_bytes()
    for file in files:
        check(file)


@pytest.mark.parametrize(("elements", "pixel"), [({}, None), (CT, 0.5 * 0.25)], ids=["xray", "ct"])
def test_regions_have_outline_and_area_and_refer_to_their_segmentation(
    tmp_path: Path, write_dicom: Write, elements: dict[str, object], pixel: float | None
) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (96, 64), dtype=np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels, **elements)
    scored = prediction_of(path, ((4, 20, 8, 26), (20, 3, 30, 9)))
    _, (file,) = write_results([scored], tmp_path / "out")
    segmentation = pydicom.dcmread(file.with_name("regions-0001.dcm"))
    _, groups = groups_of(file)
    assert sorted(groups) == ["all regions", "image", "region 1", "region 2"]
    segment = groups["all regions"].referenced_segment[0].ReferencedSOPSequence[0]
    assert segment.ReferencedSOPInstanceUID == segmentation.SOPInstanceUID
    assert segment.ReferencedSegmentNumber == 1
    drawn = np.zeros((96, 64), dtype=bool)
    for number in (1, 2):
        group = groups[f"region {number}"]
        line = group.roi.value
        assert (line[0] == line[-1]).all()
        drawn[polygon(line[:, 1] - 0.5, line[:, 0] - 0.5, drawn.shape)] = True
        (area,) = group.get_measurements()
        assert area.name == codes.SCT.Area
        inside = segmentation.pixel_array[:48] if number == 1 else segmentation.pixel_array[48:]
        assert area.value == pytest.approx(inside.sum() * (pixel or 1))
        assert area.unit.value == ("{pixels}" if pixel is None else "mm2")
        (source,) = (item for item in group.roi.ContentSequence)
        of = source.ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        assert of == pydicom.dcmread(path).SOPInstanceUID
    # The lines go around the Segmentation, but for the tolerance at its corners.
    wrong = drawn != segmentation.pixel_array.astype(bool)
    assert wrong.sum() <= 0.05 * segmentation.pixel_array.sum()
    check(file)


def test_a_series_has_one_report_with_the_regions_of_its_slices(
    tmp_path: Path, write_dicom: Write
) -> None:
    uids = []
    for k in range(4):
        pixels = np.random.default_rng(k).integers(0, 4096, (48, 40), dtype=np.uint16)
        place = {"ImagePositionPatient": [0, 0, 2 * k], "PixelSpacing": [0.5, 0.5]}
        written = write_dicom(tmp_path / f"series/{k}.dcm", pixels, **{**CT, **place})
        uids.append(pydicom.dcmread(written).SOPInstanceUID)
    mask = np.zeros((40, 48, 4), dtype=bool)
    mask[5:9, 10:20, 1] = mask[20:22, 30:40, 2] = True
    scored = replace(
        prediction_of(tmp_path / "series"), volume_map=mask.astype(np.float32), volume_mask=mask
    )
    results, (file,) = write_results([scored], tmp_path / "out")
    results.add_p_values([0.5], 0.05)
    _, groups = groups_of(file)
    assert sorted(groups) == ["all regions", "region 1", "region 2", "series"]
    assert len(groups["series"].source_images) == 4
    areas = {numbers_of(groups[f"region {n}"])["Area"] for n in (1, 2)}
    assert areas == {4 * 10 * 0.25, 2 * 10 * 0.25}
    sources = {
        groups[f"region {n}"].roi.ContentSequence[0].ReferencedSOPSequence[0]
        .ReferencedSOPInstanceUID
        for n in (1, 2)
    }  # fmt: skip
    assert sources == {uids[1], uids[2]}
    check(file)


def test_a_region_of_one_pixel_has_an_outline(tmp_path: Path, write_dicom: Write) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (32, 32), dtype=np.uint16)
    path = write_dicom(tmp_path / "a.dcm", pixels)
    made = DicomObjects(CONFIG, vmax=0.3).make(prediction_of(path, ((0, 0, 1, 1),)))
    (found,) = outlines(made["regions"])
    assert found.pixels == 1 and found.line.min() >= 0 and found.line.max() <= 1
    assert len(found.line) >= 4
