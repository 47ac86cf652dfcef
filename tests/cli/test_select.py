import csv
import json
import shutil

import numpy as np
import pytest

from a2bgan.data.open_data import open_data


@pytest.fixture
def copy(run, tmp_path):
    return shutil.copytree(run, tmp_path / "run")


def selection(run):
    return json.loads((run / "selection.json").read_text())


def test_training_decides(run):
    chosen = selection(run)
    assert chosen["pick"]["rule"] == "aucp"
    assert 0 <= chosen["aucp"] <= 1
    low, high = chosen["diseased_share_ci"]
    assert 0 <= low <= chosen["diseased_share"] <= high <= 1
    assert (run / "validation.jsonl").read_text().count("\n") == 10  # two versions, five scores
    held_out = (run / "holdout.csv").read_text()
    assert "calibration" in held_out
    assert json.loads((run / "calibration.json").read_text())["pick"] == chosen["pick"]


def test_other_rules(copy, phantoms, a2bgan, says, tmp_path):
    assert a2bgan("select", copy, "--by", "last").exit_code == 0
    assert selection(copy)["pick"]["rule"] == "last"
    assert json.loads((copy / "calibration.json").read_text())["pick"]["rule"] == "last"
    line = says(a2bgan("select", copy, "--by", "fid", "--inception", tmp_path / "none.pth"))
    assert "fetch weights-inception" in line
    result = a2bgan("select", copy, "--by", "fid")
    assert "EfficientNet-Lite0" in result.output
    assert "EfficientNet-Lite0" in selection(copy)["features"]
    assert "needs --labels" in says(a2bgan("select", copy, "--by", "labels"))
    labels = phantoms.parent / "manifest.csv" if phantoms.suffix == ".csv" else phantoms
    manifest = labels if labels.suffix == ".csv" else labels / "manifest.csv"
    assert a2bgan("select", copy, "--by", "labels", "--labels", manifest).exit_code == 0
    assert selection(copy)["pick"]["rule"] == "labels"


def labels_file(file, phantoms, change):
    """The phantoms' manifest with each row changed; rows that become None are left out."""
    with phantoms.open(newline="") as source:
        rows = [changed for row in csv.DictReader(source) if (changed := change(row))]
    with file.open("w", newline="") as target:
        table = csv.DictWriter(target, rows[0])
        table.writeheader()
        table.writerows(rows)
    return file


def flipped(row):
    return row if row["split"] == "test" else row | {"label": str(1 - int(row["label"]))}


def test_labels_of_what_was_learned_from_are_not_selected_by(
    copy, phantoms, a2bgan, says, tmp_path
):
    file, chosen = tmp_path / "labels.csv", []
    for change in (dict, flipped, lambda row: row if row["split"] == "test" else None):
        labels_file(file, phantoms, change)
        result = a2bgan("select", copy, "--by", "labels", "--labels", file)
        assert result.exit_code == 0, result.output
        chosen.append(selection(copy))
        said = "12 of 24 labelled images left out: of the run's healthy or mixed set"
        assert (said in result.output) == (len(chosen) < 3)
        assert ("left out" in result.output) == (len(chosen) < 3)
    assert chosen[0] == chosen[1] == chosen[2]

    labels_file(file, phantoms, lambda row: row if row["split"] != "test" else None)
    line = says(a2bgan("select", copy, "--by", "labels", "--labels", file))
    assert "all 12 labelled images are of the run's healthy or mixed set" in line
    assert "such as its test images" in line


def test_other_images_of_patients_that_were_learned_from_are_not_selected_by(
    copy, phantoms, a2bgan, tmp_path
):
    mixed = next(row for row in open_data(phantoms, keep_identifiers=True).split("mixed"))
    pseudonym = next(row for row in open_data(phantoms).split("healthy")).patient_id
    whose = iter((mixed.patient_id, pseudonym, "somebody else"))

    def given_away(row):
        if row["split"] != "test":
            return None
        # Another name for the same thing: what counts is the run's split.
        return row | {"patient_id": next(whose, row["patient_id"]), "split": "extra"}

    file = labels_file(tmp_path / "labels.csv", phantoms, given_away)
    result = a2bgan("select", copy, "--by", "labels", "--labels", file)
    assert result.exit_code == 0, result.output
    assert "2 of 12 labelled images left out" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--labels", "x.csv"), "--labels goes with --by labels"),
        (("--by", "last", "--labels", "x.csv"), "--labels goes with --by labels"),
        (("--compare", "--labels", "x.csv"), "--labels goes with --by labels"),
        (("--by", "last", "--data", "x.csv"), "--data goes with --compare"),
        (("--by", "aucp", "--inception", "x.pth"), "--inception goes with --by fid or --compare"),
        (("--by", "last", "--compare"), "--compare shows every rule: leave out --by"),
    ],
)
def test_no_option_is_passed_over(copy, a2bgan, says, options, message):
    before = selection(copy)
    assert message in says(a2bgan("select", copy, *options))
    assert selection(copy) == before


def test_compare_rules_is_analysis_alone(copy, a2bgan):
    before = selection(copy)
    result = a2bgan("select", copy, "--compare")
    assert result.exit_code == 0, result.output
    found = json.loads((copy / "selection-compare.json").read_text())
    rules = [row["rule"] for row in found["rows"]]
    assert rules[0] == "best there was"
    assert {"aucp", "last"} <= set(rules)
    assert any(rule.startswith("fid, EfficientNet-Lite0") for rule in rules)
    assert found["rows"][0]["auroc"] == max(c["auroc"] for c in found["measured"])
    assert (copy / "selection-compare.png").stat().st_size > 5000
    assert selection(copy) == before


def test_a_rate_that_needs_more_patients_is_said(copy, a2bgan, tmp_path):
    result = a2bgan("calibrate", copy, "--fpr", "0.01")
    assert result.exit_code == 0
    said = "1 held-out healthy patient is too few for a rate of 0.01: nothing can be flagged"
    assert f"{said}; 99 are needed: train with more healthy patients" in result.output
    assert "or accept a rate of 0.5 or more" in result.output
    enough = a2bgan("calibrate", copy, "--fpr", "0.5").output
    assert "like the held-out one, on average" in enough
    for output in (result.output, enough):
        assert "no contours: 1 held-out healthy image is too few: with 19 or more" in output


def test_predict_flags_by_the_calibration(copy, phantoms, a2bgan, tmp_path):
    calibration = json.loads((copy / "calibration.json").read_text())
    out = tmp_path / "out"
    arguments = ("predict", copy, phantoms, "--out", out, "--no-pictures")
    assert "patients flagged (p <= 0.5)" in a2bgan(*arguments, "--fpr", "0.5").output
    with (out / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    reference = np.array(calibration["patient_scores"])
    for row in rows:
        # An image that calibrated is as high as itself, or, by a rounding error, not quite.
        least, most = (
            (1 + (reference >= float(row["score"]) + off).sum()) / (len(reference) + 1)
            for off in (1e-4, -1e-4)
        )
        assert least - 1e-5 <= float(row["p_value"]) <= most + 1e-5
        assert row["flagged"] == str(int(float(row["p_value"]) <= 0.5))
    assert len(rows) == len(open_data(phantoms).rows)
    other = a2bgan(*arguments, "--score", "top-k")
    assert "calibrated for another checkpoint or score" in other.output
    assert "there are p-values without --checkpoint and --score" in other.output
    file = copy / "calibration.json"
    file.write_text(json.dumps(calibration | {"pick": calibration["pick"] | {"checkpoint": "old"}}))
    stale = a2bgan(*arguments)
    assert "another checkpoint or score; `a2bgan calibrate` makes it anew" in stale.output
    assert a2bgan("calibrate", copy).exit_code == 0
    assert "no threshold" not in a2bgan(*arguments).output
    (copy / "calibration.json").unlink()
    assert "no threshold" in a2bgan(*arguments).output
    with (out / "scores.csv").open(newline="") as file:
        assert {row["flagged"] for row in csv.DictReader(file)} == {""}


def test_predict_evaluate_and_figure_outline_by_the_calibration(copy, phantoms, a2bgan, tmp_path):
    calibration = json.loads((copy / "calibration.json").read_text())
    assert calibration["pixel_threshold"] is None
    arguments = ("predict", copy, phantoms, "--out", tmp_path / "out", "--no-pictures")
    result = a2bgan(*arguments)
    assert "no contours: 1 held-out healthy image is too few" in result.output
    assert "with a contour" not in result.output
    del calibration["pixel_threshold"]  # as older versions wrote it
    for name in ("patient_scores", "image_scores", "means", "deviations"):
        calibration[name] = calibration[name] * 19
    calibration["image_patients"] = list(range(19))
    (copy / "calibration.json").write_text(json.dumps(calibration))
    result = a2bgan(*arguments)
    assert "no contours: the run was calibrated without them; `a2bgan calibrate`" in result.output

    (copy / "calibration.json").write_text(json.dumps({**calibration, "pixel_threshold": 1e-6}))
    result = a2bgan(*arguments)
    assert result.exit_code == 0, result.output
    with (tmp_path / "out/scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (tmp_path / "out/regions.csv").open(newline="") as file:
        regions = list(csv.DictReader(file))
    outlined = [row["path"] for row in rows if int(row["n_regions"])]
    assert f"{len(outlined)} of {len(rows)} images with a contour" in result.output
    assert len(outlined) > 0
    assert [row["path"] for row in regions if row["region"] == "1"] == outlined
    assert len(regions) == sum(int(row["n_regions"]) for row in rows)

    assert a2bgan("evaluate", copy).exit_code == 0
    metrics = json.loads((copy / "metrics.json").read_text())
    assert 0 < metrics["healthy_with_contour"] <= 1
    assert 0 <= metrics["dice"] <= 1
    assert a2bgan("figure", copy, "--out", tmp_path / "with.png").exit_code == 0
    (copy / "calibration.json").unlink()
    assert a2bgan("figure", copy, "--out", tmp_path / "without.png").exit_code == 0
    assert (tmp_path / "with.png").read_bytes() != (tmp_path / "without.png").read_bytes()


def test_few_images_are_learned_from_instead_of_selected_by(
    phantoms, a2bgan, small, says, tmp_path
):
    run = tmp_path / "run"
    result = a2bgan(
        "train", "--data", phantoms, "--out", run, *small, "--set", "holdout.at_most=0.15"
    )
    assert "held out: 0 and 0 to select by, 1 healthy for the threshold" in result.output
    said = "too few images to hold any out to select by: the last checkpoint is taken; train with "
    assert f"{said}more, or with --set holdout.at_most=null" in result.output
    assert selection(run)["pick"]["rule"] == "last"
    assert (run / "calibration.json").exists()
    assert "holdout.at_most=null" in says(a2bgan("select", run))


def test_a_set_too_small_to_part_with_images_takes_the_last(phantoms, a2bgan, small, tmp_path):
    run = tmp_path / "run"
    settings = [part for s in ("holdout.fraction=0",) for part in ("--set", s)]
    result = a2bgan("train", "--data", phantoms, "--out", run, *small, *settings)
    assert "the last checkpoint is taken" in result.output
    assert selection(run)["pick"]["rule"] == "last"
    assert not (run / "calibration.json").exists()
