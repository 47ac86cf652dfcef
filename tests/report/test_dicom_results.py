"""DICOM results: conforming, readable elsewhere, in the right place, and about nobody."""

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.uid import CTImageStorage, XRayAngiographicImageStorage

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.formats.volumes import read_volume
from a2bgan.data.preprocessing import preprocess, to_original_grid
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import Prediction
from a2bgan.errors import InputError
from a2bgan.report.dicom_results import MARK, DicomObjects, DicomResults

Write = Callable[..., Path]
CONFIG = DataConfig(size=32)

CT = {
    "SOPClassUID": CTImageStorage,
    "Modality": "CT",
    "FrameOfReferenceUID": "1.2.3.4",
    "ImagePositionPatient": [-10, 20, 30.5],
    "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
    "PixelSpacing": [0.5, 0.5],
    "SliceThickness": 2,
}


def result_of(path: Path, place: tuple[int, int] = (4, 20)) -> Prediction:
    image = np.linspace(0, 1, 1024, dtype=np.float32).reshape(1, 32, 32)
    anomaly = np.zeros((32, 32), dtype=np.float32)
    anomaly[place] = 0.5
    return Prediction(Input(str(path), path, "PSN-0123456789ABCDEF"), 0.25, image, image, anomaly)


@pytest.fixture
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 4096, (96, 64), dtype=np.uint16)


def write_results(
    paths: list[Path], out: Path, *, keep_identifiers: bool = False
) -> tuple[DicomResults, list[Path]]:
    objects = DicomObjects(CONFIG, vmax=0.3, keep_identifiers=keep_identifiers)
    results = DicomResults(out, objects)
    assert [p.score for p in results.passing(map(result_of, paths))] == [0.25] * len(paths)
    return results, sorted(out.rglob("*.dcm"))


@pytest.mark.parametrize("elements", [{}, CT], ids=["xray", "ct"])
@pytest.mark.parametrize("keep", [False, True], ids=["pseudonym", "identifiers"])
def test_results_conform_and_refer_to_their_source(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray, elements: dict[str, object], keep: bool
) -> None:
    source = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", pixels, **elements))
    results, files = write_results([tmp_path / "a.dcm"], tmp_path / "out", keep_identifiers=keep)
    assert (results.written, results.left_out) == (1, [])
    assert [file.name for file in files] == ["capture-0001.dcm", "map-0001.dcm", "report-0001.dcm"]
    for file in files:
        made = pydicom.dcmread(file)
        assert MARK in made.SeriesDescription
        assert made.StudyInstanceUID == source.StudyInstanceUID
        assert made.SeriesInstanceUID != source.SeriesInstanceUID
        text = file.read_bytes()
        assert source.SOPInstanceUID.encode() in text
        assert made.PatientID == (source.PatientID if keep else "PSN-0123456789ABCDEF")
        for private in (b"Doe", b"MRN-0815", b"19700101", b"ACC-17", b"Roe"):
            assert keep or private not in text
    assert pydicom.dcmread(files[1]).ContentDescription == MARK
    capture = pydicom.dcmread(files[0])
    assert capture.Columns > 900 and capture.PhotometricInterpretation == "RGB"
    if shutil.which("dciodvfy") is None or shutil.which("dcm2pnm") is None:
        pytest.skip("dciodvfy (dicom3tools) or dcm2pnm (DCMTK) is not installed")
    for file in files:
        checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        assert "Error" not in checked.stderr, checked.stderr
        assert subprocess.run(["dcmdump", "-q", file], capture_output=True).returncode == 0
    subprocess.run(["dcm2pnm", files[0], tmp_path / "shown.ppm"], check=True, capture_output=True)


def test_maps_are_floats_on_the_sources_grid(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray
) -> None:
    write_dicom(tmp_path / "a.dcm", pixels, **CT)
    _, files = write_results([tmp_path / "a.dcm"], tmp_path / "out")
    made = pydicom.dcmread(files[1])
    values = made.pixel_array
    assert values.shape == (96, 64) and values.dtype == np.float32
    # (4, 20) of 32 x 32, in the central 64 x 64 of 96 x 64.
    row, column = np.unravel_index(values.argmax(), values.shape)
    assert abs(row - (16 + 2 * 4.5)) <= 1.5 and abs(column - 2 * 20.5) <= 1.5
    assert not values[:16].any() and not values[-16:].any()
    groups = made.PerFrameFunctionalGroupsSequence[0]
    assert list(groups.PlanePositionSequence[0].ImagePositionPatient) == [-10, 20, 30.5]


@pytest.mark.parametrize("step", [2.0, -2.0])
def test_a_series_gets_one_map_with_a_frame_for_every_slice(
    tmp_path: Path, write_dicom: Write, step: float
) -> None:
    voxels = np.random.default_rng(0).integers(0, 4096, (5, 48, 40), dtype=np.uint16)
    slices = {}
    for k, pixels in enumerate(voxels):
        position = [-10, 20, 30.5 + step * k]
        name = f"series/{(3 * k) % 5}.dcm"  # says nothing about the order
        write_dicom(tmp_path / name, pixels, **{**CT, "ImagePositionPatient": position})
        slices[position[2]] = pixels
    # The volume itself for a map: every frame must then be the slice at its position.
    volume = read_volume(tmp_path / "series").values
    scored = replace(result_of(tmp_path / "series"), volume_map=volume)
    results = DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    list(results.passing([scored]))
    assert (results.written, results.left_out) == (1, [])
    capture, made = (
        pydicom.dcmread(tmp_path / f"out/study-0001/{kind}-0001.dcm") for kind in ("capture", "map")
    )
    assert made.NumberOfFrames == 5 and len(capture.SourceImageSequence) == 5
    for frame, groups in zip(made.pixel_array, made.PerFrameFunctionalGroupsSequence, strict=True):
        height = float(groups.PlanePositionSequence[0].ImagePositionPatient[2])
        np.testing.assert_array_equal(frame, slices[height])
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    for kind in ("capture", "map"):
        file = tmp_path / f"out/study-0001/{kind}-0001.dcm"
        checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
        assert "Error" not in checked.stderr, checked.stderr


def with_mask(prediction: Prediction) -> Prediction:
    mask = np.zeros((32, 32), dtype=bool)
    mask[4:8, 20:26] = True
    return replace(prediction, mask=mask)


@pytest.mark.parametrize("elements", [{}, CT], ids=["xray", "ct"])
def test_regions_are_a_binary_segmentation_on_the_sources_grid(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray, elements: dict[str, object]
) -> None:
    source = pydicom.dcmread(write_dicom(tmp_path / "a.dcm", pixels, **elements))
    healthy = write_dicom(tmp_path / "b.dcm", pixels, **elements)
    results = DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    nothing = replace(result_of(healthy), mask=np.zeros((32, 32), dtype=bool))
    list(results.passing([with_mask(result_of(tmp_path / "a.dcm")), nothing]))
    assert (results.written, results.left_out) == (2, [])
    found = sorted(file.name for file in (tmp_path / "out").rglob("*.dcm"))
    assert found == [
        "capture-0001.dcm", "capture-0002.dcm", "map-0001.dcm", "map-0002.dcm", "regions-0001.dcm",
        "report-0001.dcm", "report-0002.dcm",
    ]  # fmt: skip
    file = tmp_path / "out/study-0001/regions-0001.dcm"
    made = pydicom.dcmread(file)
    assert (made.SegmentationType, made.Modality) == ("BINARY", "SEG")
    assert made.ContentDescription == MARK and MARK in made.SeriesDescription
    assert made.PatientID == "PSN-0123456789ABCDEF"
    assert source.SOPInstanceUID.encode() in file.read_bytes()
    for private in (b"Doe", b"MRN-0815", b"19700101", b"ACC-17", b"Roe"):
        assert private not in file.read_bytes()
    wanted = np.zeros((96, 64), dtype=bool)
    wanted[16 + 8 : 16 + 16, 40:52] = True  # in the central 64 x 64 of 96 x 64
    # Its corners are rounded.
    difference = made.pixel_array.astype(bool) ^ wanted
    assert difference.sum() <= 4 and made.pixel_array.any()
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    checked = subprocess.run(["dciodvfy", file], capture_output=True, text=True)
    assert "Error" not in checked.stderr, checked.stderr


@pytest.mark.parametrize("step", [2.0, -2.0])
def test_regions_of_a_series_have_a_frame_for_each_slice_that_has_any(
    tmp_path: Path, write_dicom: Write, step: float
) -> None:
    voxels = np.random.default_rng(0).integers(0, 4096, (5, 48, 40), dtype=np.uint16)
    voxels[1:3, 5:9, 7:20] = 5000
    for k, pixels in enumerate(voxels):
        position = [-10, 20, 30.5 + step * k]
        write_dicom(
            tmp_path / f"series/{k}.dcm", pixels, **{**CT, "ImagePositionPatient": position}
        )
    volume = read_volume(tmp_path / "series").values
    scored = replace(result_of(tmp_path / "series"), volume_map=volume, volume_mask=volume > 4500)
    made = DicomObjects(CONFIG, vmax=0.3).make(scored)["regions"]
    frames = np.atleast_3d(made.pixel_array).reshape(-1, 48, 40)
    groups = made.PerFrameFunctionalGroupsSequence
    heights = {
        round((float(g.PlanePositionSequence[0].ImagePositionPatient[2]) - 30.5) / step): frame
        for g, frame in zip(groups, frames, strict=True)
    }
    assert sorted(heights) == [1, 2]
    for k, frame in heights.items():
        np.testing.assert_array_equal(frame, voxels[k] > 4500)


def test_a_series_without_a_frame_of_reference_gets_no_map(
    tmp_path: Path, write_dicom: Write
) -> None:
    voxels = np.random.default_rng(0).integers(0, 4096, (4, 48, 40), dtype=np.uint16)
    for k, pixels in enumerate(voxels):
        elements = {**CT, "ImagePositionPatient": [0, 0, 2 * k]}
        del elements["FrameOfReferenceUID"]
        write_dicom(tmp_path / f"series/{k}.dcm", pixels, **elements)
    volume = read_volume(tmp_path / "series").values
    scored = replace(result_of(tmp_path / "series"), volume_map=volume)
    results = DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    list(results.passing([scored]))
    written = sorted(file.name for file in (tmp_path / "out").rglob("*.dcm"))
    assert written == ["capture-0001.dcm", "report-0001.dcm"]


def test_a_nifti_volume_gets_no_dicom_result(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"x" * 400)
    results = DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    list(results.passing([result_of(tmp_path / "a.nii")]))
    assert results.left_out == [(str(tmp_path / "a.nii"), "no DICOM file, so no DICOM result")]


def test_without_map_and_twin_the_warning_still_fits(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray
) -> None:
    scored = result_of(write_dicom(tmp_path / "a.dcm", pixels))
    results = DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    list(results.passing([replace(scored, twin=None, anomaly_map=None)]))
    (file,) = (tmp_path / "out").rglob("capture-*.dcm")
    heading = pydicom.dcmread(file).pixel_array[:40, :, 0] < 128
    assert np.flatnonzero(heading.any(axis=0)).max() > 350  # where it ends
    assert not heading[:, -10:].any()  # and not cut off


@pytest.mark.parametrize("keep", [False, True], ids=["pseudonym", "identifiers"])
@pytest.mark.parametrize("stated", ["YES", "NO", "", None])
def test_captures_say_of_annotations_what_the_source_says(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray, stated: str | None, keep: bool
) -> None:
    elements = {} if stated is None else {"BurnedInAnnotation": stated}
    scored = result_of(write_dicom(tmp_path / "a.dcm", pixels, **elements))
    made = DicomObjects(CONFIG, vmax=0.3, keep_identifiers=keep).make(scored)["capture"]
    assert made.get("BurnedInAnnotation") == (stated or None)


def test_of_a_series_one_slice_with_annotations_is_enough(
    tmp_path: Path, write_dicom: Write
) -> None:
    def stated(*each: str) -> str | None:
        folder = tmp_path / "-".join(each)
        for k, burned in enumerate(each):
            pixels = np.full((48, 40), k, np.uint16)
            position = {"ImagePositionPatient": [0, 0, 2 * k], "BurnedInAnnotation": burned}
            write_dicom(folder / f"{k}.dcm", pixels, **{**CT, **position})
        scored = replace(result_of(folder), anomaly_map=None)
        capture = DicomObjects(CONFIG, vmax=0.3).make(scored)["capture"]
        return capture.get("BurnedInAnnotation")

    assert stated("NO", "NO", "NO") == "NO"
    assert stated("NO", "YES", "") == "YES"
    assert stated("NO", "NO", "") is None


@pytest.mark.parametrize("frames", ["first", "middle"])
@pytest.mark.parametrize("count", [1, 4, 5])
def test_the_frame_that_was_used_is_referred_to(
    tmp_path: Path, write_dicom: Write, frames: str, count: int
) -> None:
    stack = np.random.default_rng(0).integers(0, 4096, (count, 48, 40), dtype=np.uint16)
    elements = {"SOPClassUID": XRayAngiographicImageStorage, "Modality": "XA"}
    path = write_dicom(tmp_path / "a.dcm", stack, **elements)
    config = DataConfig(size=32, frames=frames)
    scored = replace(result_of(path), anomaly_map=None)
    made = DicomObjects(config, vmax=0.3).make(scored)["capture"]
    (reference,) = made.SourceImageSequence
    number = reference.get("ReferencedFrameNumber")
    if count == 1:
        assert number is None  # the reference is to all of it
    else:
        np.testing.assert_array_equal(
            read_picture(path, config.read_options).values, stack[number - 1]
        )
    made.save_as(tmp_path / "capture.dcm")
    if shutil.which("dciodvfy") is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    checked = subprocess.run(["dciodvfy", tmp_path / "capture.dcm"], capture_output=True, text=True)
    assert "Error" not in checked.stderr, checked.stderr


def test_one_series_a_study(tmp_path: Path, write_dicom: Write, pixels: np.ndarray) -> None:
    for name, study in (("a", "1.2.3"), ("b", "1.2.3"), ("c", "1.2.4")):
        write_dicom(tmp_path / f"{name}.dcm", pixels, StudyInstanceUID=study)
    _, files = write_results([tmp_path / f"{n}.dcm" for n in "abc"], tmp_path / "out")
    series = {
        (file.parent.name, file.name[:3]): pydicom.dcmread(file).SeriesInstanceUID for file in files
    }
    assert len(files) == 9 and len(set(series.values())) == 6


def test_with_a_secret_uids_follow_from_the_source(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray
) -> None:
    scored = result_of(write_dicom(tmp_path / "a.dcm", pixels, InstanceNumber=7))

    def made(secret: str) -> list[tuple[str, str]]:
        found = DicomObjects(CONFIG, vmax=0.3, secret=secret).make(scored)
        assert {int(o.InstanceNumber) for o in found.values()} == {7}
        return [(o.SOPInstanceUID, o.SeriesInstanceUID) for o in found.values()]

    assert made("one") == made("one")
    assert len({uid for pair in made("one") + made("two") for uid in pair}) == 12


def test_what_is_no_dicom_is_named(tmp_path: Path, write_dicom: Write, pixels: np.ndarray) -> None:
    (tmp_path / "a.png").write_bytes(b"x" * 200)
    write_dicom(tmp_path / "b.dcm", pixels, SeriesInstanceUID=None)
    write_dicom(tmp_path / "c.dcm", pixels)
    write_dicom(tmp_path / "d.dcm", pixels, **{**CT, "PixelSpacing": []})
    paths = [tmp_path / name for name in ("a.png", "b.dcm", "c.dcm", "d.dcm")]
    results, _ = write_results(paths, tmp_path / "out")
    assert results.written == 1
    assert [reason for _, reason in results.left_out] == [
        "no DICOM file, so no DICOM result",
        "no SeriesInstanceUID, so nothing to refer to",
        "its header does not allow a DICOM result",
    ]


@pytest.mark.parametrize(
    ("keyword", "kind", "keep"), [("PatientID", "FL", True), ("Laterality", "US", False)]
)
def test_a_text_stored_as_a_number_costs_one_image(
    tmp_path: Path, write_dicom: Write, pixels: np.ndarray, keyword: str, kind: str, keep: bool
) -> None:
    bad, good = (write_dicom(tmp_path / f"{name}.dcm", pixels) for name in ("bad", "good"))
    dataset = pydicom.dcmread(bad)
    dataset[keyword] = DataElement(keyword, kind, 7)
    dataset.save_as(bad)
    results, files = write_results([bad, good], tmp_path / "out", keep_identifiers=keep)
    assert results.left_out == [(str(bad), "its header does not allow a DICOM result")]
    assert results.written == 1
    assert [file.name[:-9] for file in files] == ["capture", "map", "report"]
    of = {pydicom.dcmread(file).SeriesDescription for file in files}
    assert len(of) == 3  # all are whole


@pytest.mark.parametrize("error", [InputError("a font is missing"), MemoryError()])
def test_what_is_not_the_headers_fault_is_not_laid_on_it(
    tmp_path: Path,
    write_dicom: Write,
    pixels: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(DicomObjects, "_capture", fail)
    scored = result_of(write_dicom(tmp_path / "a.dcm", pixels))
    with pytest.raises(type(error)):
        DicomObjects(CONFIG, vmax=0.3).make(scored)


def test_results_do_not_go_among_those_of_others(tmp_path: Path) -> None:
    old = tmp_path / "out" / "study-0001" / "capture-0002.dcm"
    old.parent.mkdir(parents=True)
    old.touch()
    with pytest.raises(InputError, match=r"out: is not empty: choose another --dicom-out"):
        DicomResults(tmp_path / "out", DicomObjects(CONFIG, vmax=0.3))
    assert old.exists()


@pytest.mark.parametrize("square", ["crop", "pad", "stretch"])
@pytest.mark.parametrize("shape", [(96, 64), (64, 96), (50, 50)])
def test_a_map_returns_to_where_it_came_from(square: str, shape: tuple[int, int]) -> None:
    config = DataConfig(size=32, square=square, crop_top=0.1, window="full")
    image = np.zeros(shape, dtype=np.uint8)
    image[shape[0] // 2 - 6 : shape[0] // 2 + 2, shape[1] // 2 + 4 : shape[1] // 2 + 12] = 255
    seen = preprocess(image, config)[0] / 255
    back = to_original_grid(seen, *shape, config)
    assert back.shape == shape
    assert np.abs(back - image / 255).mean() < 0.02

    def centre(values: np.ndarray) -> np.ndarray:
        return np.array([np.average(axis, weights=values) for axis in np.indices(shape)])

    assert centre(back) == pytest.approx(centre(image), abs=0.3)
