"""DICOM through the commands: tags, pseudonyms, and results, from files to files."""

import json
import logging
import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest

SECRETS = ("Doe", "MRN", "19700101", "ACC-17")


@pytest.fixture
def archive(tmp_path, write_dicom, make_texture):
    """healthy/ and mixed/ of 12 DICOM files each, two a patient; half of them PA, half AP."""
    for split in ("healthy", "mixed"):
        for number in range(12):
            write_dicom(
                tmp_path / "archive" / split / f"{number:03d}",
                make_texture(number + 50 * (split == "mixed")).astype(np.uint16) * 16,
                BitsStored=12,
                HighBit=11,
                PatientID=f"MRN-{split}-{number // 2}",
                ViewPosition="PA" if number % 4 < 2 else "AP",
                StudyInstanceUID=f"1.2.3.{number // 2}",
            )
    return tmp_path / "archive"


def read_all(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.rglob("*") if file.is_file())


def test_training_and_prediction_name_nobody(
    archive, small, a2bgan, tmp_path, write_dicom, caplog, recwarn
):
    caplog.set_level(logging.DEBUG)
    run, out, dicom_out = (tmp_path / name for name in ("run", "out", "dicom"))
    where = ("--where", "ViewPosition=PA")
    trained = a2bgan("train", "--data", archive, "--out", run, *small, *where)
    assert trained.exit_code == 0, trained.output
    assert "--where ViewPosition=PA: 12 of 24 images" in trained.output
    assert json.loads((run / "manifest.json").read_text())["where"] == "ViewPosition=PA"
    rows = (run / "manifest.csv").read_text().splitlines()
    assert len(rows) == 13
    assert all("PSN-" in row for row in rows[1:])
    assert len({row.split(",")[3] for row in rows[1:]}) == 6

    resumed = a2bgan("train", "--data", archive, "--out", run, "--resume")
    assert resumed.exit_code == 0, resumed.output
    (archive / "mixed" / "cut").write_bytes((archive / "mixed" / "000").read_bytes()[:-2000])
    said = a2bgan("predict", run, archive / "mixed", "--out", out, "--dicom-out", dicom_out)
    assert said.exit_code == 1
    assert "truncated file" in said.output
    assert "DICOM results of 12 images" in said.output
    table = (out / "scores.csv").read_text().splitlines()
    assert all("PSN-" in line for line in table[1:])
    assert len(list(dicom_out.rglob("*.dcm"))) == 36
    assert len(list(dicom_out.iterdir())) == 6
    everything = b"".join(map(read_all, (run, out, dicom_out))).decode("latin-1")
    everything += trained.output + said.output + caplog.text
    everything += "".join(str(warning.message) for warning in recwarn)
    assert not [secret for secret in SECRETS if secret in everything]

    kept = tmp_path / "kept"
    a2bgan("predict", run, archive / "mixed" / "000", "--out", kept, "--keep-identifiers",
           "--dicom-out", kept)  # fmt: skip
    assert "MRN-mixed-0" in (kept / "scores.csv").read_text()
    capture = pydicom.dcmread(kept / "study-0001" / "capture-0001.dcm")
    assert (capture.PatientID, str(capture.PatientName)) == ("MRN-mixed-0", "Doe^Jane")


def test_identifiers_of_a_manifest_become_pseudonyms_too(tiny_set, small, a2bgan, tmp_path):
    for name, options in (("pseudonyms", ()), ("raw", ("--keep-identifiers",))):
        run = tmp_path / name
        result = a2bgan("train", "--data", tiny_set, "--out", run, *small, *options)
        assert result.exit_code == 0, result.output
        assert ("patient3" in (run / "manifest.csv").read_text()) == (name == "raw")
    # Who is held out depends on who is the same patient, not on what patients are called.
    parts = [(tmp_path / name / "holdout.csv").read_text() for name in ("pseudonyms", "raw")]
    assert parts[0] == parts[1]


@pytest.mark.parametrize("command", ["evaluate", "figure", "compare", "select", "report", "serve"])
def test_where_chooses_from_data(command, run, phantoms, a2bgan, says, tmp_path):
    runs = (run, run) if command == "compare" else (run,)
    more = {"figure": ("--out", tmp_path / "f.png"), "select": ("--compare",)}.get(command, ())
    given = (command, *runs, *more, "--where", "Modality=DX")
    assert "--where chooses from --data" in says(a2bgan(*given))
    line = says(a2bgan(*given, "--data", phantoms))
    assert "0 of" in line and "left out because no DICOM tags can be read from them" in line


def test_where_keeps_the_test_images_that_have_the_tags(
    run, write_dicom, make_texture, a2bgan, tmp_path
):
    copy, data = shutil.copytree(run, tmp_path / "run"), tmp_path / "data"
    for number in range(12):
        path = data / "test" / ("normal", "abnormal")[number % 2] / f"{number:02d}"
        write_dicom(path, make_texture(number), ViewPosition="PA" if number < 8 else "AP")
    given = ("--data", data, "--where", "ViewPosition=PA")
    for command in (
        ("evaluate", copy), ("compare", copy, copy), ("select", copy, "--compare"),
        ("report", copy), ("figure", copy, "--out", tmp_path / "f.png"),
    ):  # fmt: skip
        result = a2bgan(*command, *given)
        assert result.exit_code == 0, result.output
        assert "--where ViewPosition=PA: 8 of 12 images" in result.output
    metrics = json.loads((copy / "metrics.json").read_text())
    assert (metrics["where"], metrics["n_normal"], metrics["n_abnormal"]) == (
        "ViewPosition=PA", 4, 4,
    )  # fmt: skip
    assert len(json.loads((copy / "selection-compare.json").read_text())["aucp"]) > 0
    page = (copy / "report.html").read_text()
    assert "test (ViewPosition=PA)" in page
    assert "4 normal and 4 abnormal test images" in page


def test_where_is_checked(run, phantoms, a2bgan, says, tmp_path):
    line = says(a2bgan("data", "check", phantoms, "--where", "Modality=DX"))
    assert "0 of" in line and "left out because no DICOM tags can be read from them" in line
    assert "no DICOM keyword" in says(
        a2bgan("predict", run, phantoms, "--out", tmp_path / "o", "--where", "Mode=DX")
    )


def test_brackets_in_the_folder_of_results_are_no_markup(run, write_dicom, a2bgan, tmp_path):
    image = np.random.default_rng(0).integers(0, 4000, (40, 40), dtype=np.uint16)
    file = write_dicom(tmp_path / "a.dcm", image)
    folder = tmp_path / "out[/b]"
    result = a2bgan("predict", run, file, "--out", tmp_path / "out", "--dicom-out", folder)
    assert result.exit_code == 0, result.output
    assert f"DICOM results of 1 images -> {folder}" in result.output
