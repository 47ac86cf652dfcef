import csv
import json
import re
import shutil
from dataclasses import replace

import pytest
import torch

from a2bgan.cli.evaluate import _print_metrics
from a2bgan.data.open_data import open_data
from a2bgan.detection.evaluate import evaluate, summarise
from a2bgan.detection.measures.localisation import MapMeasures
from a2bgan.detection.trained_model import load_trained
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder


def test_evaluate_writes_every_measure(run, a2bgan):
    result = a2bgan("evaluate", run)
    assert result.exit_code == 0, result.output
    metrics = json.loads((run / "metrics.json").read_text())
    low, high = metrics["auroc_ci"]
    assert 0 <= low <= metrics["auroc"] <= high <= 1
    assert (metrics["n_normal"], metrics["n_abnormal"]) == (6, 6)
    picked = json.loads((run / "selection.json").read_text())["pick"]["score"]
    assert (metrics["score"], metrics["checkpoint"]) == (picked, "step-00000006")
    for name in ("auprc", "sensitivity_at_95_specificity", "pixel_auroc", "pixel_ap", "aupro"):
        assert 0 <= metrics[name] <= 1
    assert metrics["twin_psnr_inside"] > 0
    assert "auroc" in result.output


def test_evaluate_warns_of_a_map_that_only_knows_the_usual_place(
    run, a2bgan, tmp_path, monkeypatch
):
    result = a2bgan("evaluate", run, "--out", tmp_path / "m.json")
    metrics = json.loads((tmp_path / "m.json").read_text())
    lines = [re.split("  +", line.strip()) for line in result.output.splitlines()]
    assert ["where the map points", "map", "position alone"] in lines
    for name, words in (("within_image_auroc", "AUROC of pixels within an image"),
                        ("pixel_auroc", "AUROC of pixels")):  # fmt: skip
        shown = [f"{where[name]:.2f}" for where in (metrics, metrics["position_alone"])]
        assert [words, *shown] in lines
    assert "pixel_auroc" not in result.output and "{" not in result.output
    sentence = "warning: the map does not point at lesions better than a guess of the usual place"
    for of_map, warned in ((0.75, True), (0.76, False)):
        values = iter((of_map, 0.75))  # then position alone
        monkeypatch.setattr(
            MapMeasures, "within_image_auroc", lambda measures, values=values: next(values)
        )
        result = a2bgan("evaluate", run, "--out", tmp_path / "m.json")
        assert result.exit_code == 0
        assert (sentence in result.output) == warned


def test_evaluate_says_what_it_cannot(run, tiny_set, a2bgan, says, tmp_path):
    assert "no labelled images" in says(a2bgan("evaluate", run, "--split", "extra"))
    assert "unknown score" in says(a2bgan("evaluate", run, "--score", "magic"))
    assert "no checkpoint '9'" in says(a2bgan("evaluate", run, "--checkpoint", "9"))


def test_where_measures_cannot_be_written_is_said_before_anything_is_scored(
    run, a2bgan, says, tmp_path, monkeypatch
):
    (tmp_path / "folder" / "e-scores.csv").mkdir(parents=True)
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setattr("a2bgan.detection.trained_model.load_trained", None)
        for parent in ("no", "file"):
            line = says(a2bgan("evaluate", run, "--out", tmp_path / parent / "e.json"))
            assert f"(no folder {tmp_path / parent}); make it, or choose another --out" in line
        line = says(a2bgan("evaluate", run, "--out", tmp_path / "folder"))
        assert "(a folder); give --out a file in it" in line
    assert not (tmp_path / "folder-scores.csv").exists()
    # What only writing shows is a line too.
    line = says(a2bgan("evaluate", run, "--out", tmp_path / "folder" / "e.json"))
    assert "cannot be written with its scores" in line
    assert not (tmp_path / "folder" / "e.json").exists()


def test_images_and_masks_that_cannot_be_read_are_said_apart(run, tiny_set, a2bgan, tmp_path):
    tested = [row for row in open_data(tiny_set).split("test") if row.mask]
    tested[0].path.write_bytes(b"no image")
    for row in tested[1:3]:
        row.mask.write_bytes(b"no mask")
    out = tmp_path / "metrics.json"
    result = a2bgan("evaluate", run, "--data", tiny_set, "--out", out)
    assert result.exit_code == 1
    assert "1 image left out of the evaluation" in result.output
    assert "2 masks could not be read: left out of the pixel measures" in result.output
    metrics = json.loads(out.read_text())
    assert (metrics["n_failed"], metrics["n_masks_failed"]) == (1, 2)
    assert (metrics["n_normal"], metrics["n_abnormal"]) == (6, 5)


def test_one_class_only_has_no_auroc(run, tiny_set, a2bgan, tmp_path):
    text = (tiny_set / "manifest.csv").read_text().splitlines()
    kept = [row for row in text if ",test,1" not in row]
    (tiny_set / "normal.csv").write_text("\n".join(kept) + "\n")
    out = tmp_path / "metrics.json"
    result = a2bgan("evaluate", run, "--data", tiny_set / "normal.csv", "--out", out)
    assert result.exit_code == 0
    metrics = json.loads(out.read_text())
    assert metrics["auroc"] is None
    assert metrics["auroc_ci"] is None


def test_brackets_in_measures_are_no_markup(capsys):
    _print_metrics({"split": "[/b]", "auroc": 0.5})
    assert "[/b]" in capsys.readouterr().out


def test_measures_of_repeated_runs_go_where_they_are_wanted(run, phantoms, a2bgan, tmp_path):
    for number in (0, 1):
        shutil.copytree(run, tmp_path / "runs" / f"seed-{number}")
    before = {p: p.read_bytes() for p in (tmp_path / "runs").rglob("metrics*")}
    result = a2bgan("evaluate", tmp_path / "runs", "--data", phantoms, "--out", tmp_path / "m.json")
    assert result.exit_code == 0, result.output
    assert {p: p.read_bytes() for p in (tmp_path / "runs").rglob("metrics*")} == before
    one, other, both = (
        json.loads((tmp_path / f"m{name}.json").read_text()) for name in ("-seed-0", "-seed-1", "")
    )
    assert one["auroc"] == other["auroc"] == both["auroc"]
    assert both["auroc_sd"] == 0


def test_an_evaluation_with_a_score_that_is_not_finite_is_one_line(run, phantoms):
    trained = load_trained(RunFolder.open(run), score="mean")
    for name in ("translator", "translator_ema"):
        torch.nn.init.constant_(trained.method.networks[name].head.weight, torch.nan)
    with pytest.raises(InputError, match=r"\.png: no finite score \(12 of 12 images\)"):
        evaluate(trained, open_data(phantoms))


def test_repeated_runs_with_a_map_and_without_are_summarised(run, phantoms):
    found = evaluate(load_trained(RunFolder.open(run)), open_data(phantoms))
    metrics = found.metrics | {"map_auroc": 0.75, "map_score": "mean"}
    several = [replace(found, metrics=metrics), found, found]
    without = {k: v for k, v in found.metrics.items() if not k.startswith("map_")}
    several[1:] = [replace(found, metrics=without)] * 2
    for order in (several, several[::-1]):
        summary = summarise(order)
        assert (summary["map_auroc"], summary["map_auroc_runs"]) == (0.75, 1)
        assert "map_auroc_sd" not in summary and "auroc_runs" not in summary
        assert summary["auroc_sd"] == pytest.approx(0, abs=1e-12)


def test_images_that_were_learned_from_measure_nothing(run, a2bgan, says, phantoms, tmp_path):
    rows = list(csv.DictReader(phantoms.open(newline="")))
    learned = next(row for row in rows if row["split"] == "healthy")
    rows.append(learned | {"path": f"./{learned['path']}", "split": "test", "label": "0"})
    tested = [row for row in rows if row["split"] == "test"]
    manifest = phantoms.parent / "leaking.csv"
    with manifest.open("w", newline="") as file:
        table = csv.DictWriter(file, tested[0])
        table.writeheader()
        table.writerows(tested)
    try:
        options = ("evaluate", run, "--data", manifest, "--out", tmp_path / "m.json")
        refused = a2bgan(*options)
        assert refused.exit_code == 1 and not (tmp_path / "m.json").exists()
        assert "1 identical file is both in the sets that the run learned from" in says(refused)
        assert "--allow-leaks" in says(refused)
        allowed = a2bgan(*options, "--allow-leaks")
        assert allowed.exit_code == 0
        assert "what is measured is too good" in " ".join(allowed.output.split())
    finally:
        manifest.unlink()


def test_evaluate_says_that_a_model_is_doubtful(run, a2bgan, tmp_path):
    result = a2bgan("evaluate", run, "--out", tmp_path / "m.json")
    said = " ".join(result.output.split())
    assert "warning: this model is doubtful: 6 steps are too few" in said
