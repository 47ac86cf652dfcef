import csv
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.open_data import open_data


def read_scores(folder):
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_predict_scores_what_it_can_and_names_the_rest(run, a2bgan, tmp_path):
    good = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    inputs = tmp_path / "inputs"
    inputs.mkdir()
    Image.fromarray(good).save(inputs / "good.png")
    Image.fromarray(good).save(inputs / "deep.tiff")
    Image.fromarray(np.full((40, 40), 7, np.uint8)).save(inputs / "flat.png")
    Image.fromarray(np.full((40, 40), np.nan, np.float32)).save(inputs / "nan.tiff")
    Image.new("L", (400, 400)).save(inputs / "huge.png")
    (inputs / "empty.jpg").touch()
    (inputs / "cut.png").write_bytes((inputs / "good.png").read_bytes()[:500])
    (inputs / "text.png").write_text("not an image")
    (inputs / "scan.dcm").write_bytes(b"DICM")
    (inputs / "notes.txt").write_text("not tried: no image by its name")
    out = tmp_path / "out"
    result = a2bgan("predict", run, inputs, "--out", out)
    assert result.exit_code == 1
    assert "7 images could not be scored" in result.output
    rows = {row["path"].rsplit("/", 1)[-1]: row for row in read_scores(out)}
    reasons = {name: row["error"] for name, row in rows.items() if row["error"]}
    assert {name: reason.split(" (")[0] for name, reason in reasons.items()} == {
        "flat.png": "constant image",
        "nan.tiff": "NaN or infinite values",
        "huge.png": "too large",
        "empty.jpg": "empty file",
        "cut.png": "truncated file",
        "text.png": "not a PNG, JPEG, TIFF, BMP, GIF, WEBP, JPEG2000 image, or damaged",
        "scan.dcm": "not a DICOM file, or a damaged one",
    }
    assert rows["good.png"]["score"] == rows["deep.tiff"]["score"] != ""
    for name in ("good.png", "deep.tiff"):
        assert Image.open(out / rows[name]["picture"]).size[0] > 900


def test_predict_agrees_with_evaluate(run, phantoms, a2bgan, tmp_path):
    result = a2bgan("predict", run, phantoms, "--out", tmp_path / "out", "--no-pictures")
    assert result.exit_code == 0, result.output
    assert "12 of 24 images are of the run's own healthy and mixed sets" in result.output
    rows = read_scores(tmp_path / "out")
    manifest = open_data(phantoms)
    assert [row["path"] for row in rows] == [row.name for row in manifest.rows]
    assert [row["patient_id"] for row in rows] == [row.patient_id for row in manifest.rows]
    labels = {row.name: row.label for row in manifest.split("test")}
    scores = {row["path"]: float(row["score"]) for row in rows if row["path"] in labels}
    wins = [
        (scores[a] > scores[n]) + (scores[a] == scores[n]) / 2
        for a in labels
        for n in labels
        if labels[a] == 1 and labels[n] == 0
    ]
    assert a2bgan("evaluate", run).exit_code == 0
    auroc = json.loads((run / "metrics.json").read_text())["auroc"]
    assert np.mean(wins) == pytest.approx(auroc, abs=0.03)  # scores.csv rounds to six places


def test_copies_of_images_of_training_are_found_and_the_next_command_can_be_pasted(
    run, phantoms, a2bgan, tmp_path
):
    manifest = open_data(phantoms)
    new = tmp_path / "new images"
    new.mkdir()
    for split, count in (("healthy", 1), ("mixed", 1), ("test", 3)):
        for row in manifest.split(split)[:count]:
            shutil.copy(row.path, new / f"copy-of-{row.path.name}")
    result = a2bgan("predict", run, new, "--out", tmp_path / "out", "--no-pictures")
    assert result.exit_code == 0, result.output
    assert "2 of 5 images are of the run's own healthy and mixed sets" in result.output
    assert result.output.endswith(f"next: a2bgan serve {run} --data '{new}'\n")
    files = [row.path for row in manifest.split("test")[:2]]
    result = a2bgan("predict", run, *files, "--out", tmp_path / "more", "--no-pictures")
    assert "learned from" not in result.output
    assert result.output.endswith(f"next: a2bgan report {run}\n")


def test_images_of_the_same_name_keep_their_own_pictures(run, a2bgan, tmp_path):
    rng = np.random.default_rng(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        image = Image.fromarray(rng.integers(0, 255, (40, 40), dtype=np.uint8))
        image.save(tmp_path / folder / "scan.png")
    a2bgan("predict", run, tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    pictures = [row["picture"] for row in read_scores(tmp_path / "out")]
    assert pictures == ["pictures/scan.png", "pictures/scan-2.png"]


@pytest.mark.parametrize("command", ["predict", "translate"])
def test_what_was_named_and_does_not_exist_is_said_before_anything_is_written(
    run, phantoms, a2bgan, says, tmp_path, command
):
    gone, out = tmp_path / "nowhere", tmp_path / "out"
    line = says(a2bgan(command, run, phantoms, gone, "--out", out))
    assert line == f"{gone}: no such file or folder"
    assert not out.exists()


def test_what_was_written_into_a_searched_folder_is_not_scored(run, a2bgan, tmp_path):
    new = tmp_path / "new"
    (new / "old").mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    for name in ("a.png", "old/b.png"):
        Image.fromarray(image).save(new / name)
    for _ in range(2):
        result = a2bgan("predict", run, new, "--out", new / "results")
        assert result.exit_code == 0, result.output
        assert "2 images scored" in result.output
    assert len(list((new / "results/pictures").iterdir())) == 2
    for _ in range(2):
        result = a2bgan("translate", run, new, "--out", new / "results")
        assert "2 images translated" in result.output


def test_the_device_is_the_users(run, phantoms, a2bgan, says, tmp_path):
    command = ("predict", run, phantoms, "--out", tmp_path / "out", "--no-pictures")
    assert a2bgan(*command, "--accelerator", "cpu").exit_code == 0
    assert "accelerator 'xpu': this machine has" in says(a2bgan(*command, "--accelerator", "xpu"))
