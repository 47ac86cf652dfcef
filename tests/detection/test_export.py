"""Files of `a2bgan export`, by what scores with them."""

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.formats.picture import ImageError
from a2bgan.data.preprocessing import load_image
from a2bgan.detection import detection, export
from a2bgan.detection.decisions.calibration import read_calibration
from a2bgan.detection.exported_model import load_exported
from a2bgan.detection.trained_model import load_trained
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder


def scores_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def files(run, phantoms, a2bgan, tmp_path_factory) -> dict[str, Path]:
    """One file of each format, of a run whose few images give a threshold all the same."""
    folder = tmp_path_factory.mktemp("exported")
    found = {}
    for form, suffix in (("onnx", "onnx"), ("openvino", "xml"), ("torch", "pt2")):
        found[form] = folder / f"model.{suffix}"
        options = ("--format", form, "--out", found[form], "--data", phantoms)
        result = a2bgan("export", run, *options)
        assert result.exit_code == 0, result.output
        assert "scores differ from PyTorch's by at most" in result.output
    assert sorted(p.name for p in folder.iterdir()) == [
        "model.bin", "model.onnx", "model.pt2", "model.xml",
    ]  # fmt: skip
    return found


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_predict_gives_the_scores_of_the_run(files, form, run, phantoms, a2bgan, tmp_path):
    assert a2bgan("predict", run, phantoms, "--out", tmp_path / "a").exit_code == 0
    # Where it is deployed, PyTorch need not be installed.
    code = (
        "import sys; from a2bgan.cli.app import app; app(sys.argv[1:], standalone_mode=False); "
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", code, "predict", files[form], phantoms]
    subprocess.run([*command, "--out", tmp_path / "b"], check=True)
    ones, others = scores_of(tmp_path / "a"), scores_of(tmp_path / "b")
    assert len(ones) > 20
    known = read_calibration(RunFolder.open(run))
    for one, other in zip(ones, others, strict=True):
        assert float(other["score"]) == pytest.approx(float(one["score"]), rel=1e-3, abs=2e-6)
        # An image that calibrated is as high as itself, or, by a rounding error, not quite.
        ties = np.isclose(known.image_scores, float(one["score"]), rtol=1e-3, atol=2e-6).any()
        same = ("path", "patient_id", "error", "picture", *(() if ties else ("p_value", "flagged")))
        assert [one[name] for name in same] == [other[name] for name in same]


@pytest.mark.parametrize("form", ["onnx", "openvino"])
def test_any_batch_gives_maps_twins_and_what_is_needed_to_use_them(files, form, run, phantoms):
    trained, exported = load_trained(RunFolder.open(run)), load_exported(files[form])
    assert exported.data == trained.data
    assert exported.pick == trained.pick
    assert exported.about.calibration == read_calibration(RunFolder.open(run)).as_dict()
    paths = sorted(phantoms.parent.rglob("*.png"))
    images = np.stack([load_image(path, trained.data) for path in paths[:7]])
    for count in (1, 3, 7):
        (one,) = trained.detect_images(images[:count])
        (other,) = exported.detect([images[:count]])
        np.testing.assert_allclose(other.scores, one.scores, rtol=1e-3, atol=1e-6)
        np.testing.assert_allclose(other.anomaly_map, one.anomaly_map, atol=1e-4)
        np.testing.assert_allclose(other.twin, one.twin, atol=1e-4)


def test_openvino_also_computes_in_bfloat16(files, run, phantoms, a2bgan, tmp_path):
    exact, half = (load_exported(files["openvino"], half=half) for half in (False, True))
    assert half.fingerprint == f"{exact.fingerprint}, bfloat16"
    paths = sorted(phantoms.parent.rglob("*.png"))
    images = np.stack([load_image(path, exact.data) for path in paths[:7]])
    (one,), (other,) = (model.detect([images]) for model in (exact, half))
    # Processors without bfloat16 give the same.
    np.testing.assert_allclose(other.scores, one.scores, rtol=0.05, atol=1e-4)
    np.testing.assert_allclose(other.twin, one.twin, atol=0.02)
    result = a2bgan("predict", files["openvino"], *paths[:7], "--half", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    of_predict = [float(row["score"]) for row in scores_of(tmp_path)]
    np.testing.assert_allclose(of_predict, other.scores, rtol=1e-3, atol=2e-6)


@pytest.mark.parametrize(
    ("score", "words"), [("mean", "Mean over all pixels"), ("evidence", "A2B-GAN's own score")]
)
def test_the_score_is_put_into_words(score, words, run):
    trained = load_trained(RunFolder.open(run))
    named = replace(trained, pick=replace(trained.pick, score=score))
    assert words in export.describe(named, None).score_definition


@pytest.fixture(scope="module")
def of_features(phantoms, a2bgan, small, tmp_path_factory) -> Path:
    """A tiny run whose D and whose evidence see images shrunk, by a frozen backbone's features."""
    folder = tmp_path_factory.mktemp("features") / "run"
    features = "{backbone: tf_efficientnet_lite0, input_size: 64, evidence_size: 64}"
    options = ("--set", f"method.discriminator.features={features}", "--set", "data.size=128")
    result = a2bgan("train", "--data", phantoms, "--out", folder, *small, *options)
    assert result.exit_code == 0, result.output
    return folder


@pytest.mark.parametrize(
    ("form", "score"), [("onnx", "evidence"), ("openvino", "discriminator"), ("onnx", "combined")]
)
def test_frozen_features_are_exported_with_the_networks(
    score, form, of_features, phantoms, a2bgan, tmp_path
):
    copy = shutil.copytree(of_features, tmp_path / "run")
    chosen = json.loads((copy / "selection.json").read_text())
    chosen["pick"] |= {"score": score, "map_score": None, "rule": "last"}
    (copy / "selection.json").write_text(json.dumps(chosen))
    file = tmp_path / ("model.onnx" if form == "onnx" else "model.xml")
    result = a2bgan("export", copy, "--format", form, "--out", file, "--data", phantoms)
    assert result.exit_code == 0, result.output
    trained, exported = load_trained(RunFolder.open(copy)), load_exported(file)
    assert exported.pick == trained.pick
    paths = sorted(phantoms.parent.rglob("*.png"))
    images = np.stack([load_image(path, trained.data) for path in paths[:5]])
    (one,), (other,) = trained.detect_images(images), exported.detect([images])
    assert np.ptp(one.scores) > 0
    np.testing.assert_allclose(other.scores, one.scores, rtol=2e-3, atol=1e-4)
    np.testing.assert_allclose(other.anomaly_map, one.anomaly_map, rtol=2e-3, atol=1e-4)
    if form == "onnx":  # where the exporter would note lines of its own files
        assert b"site-packages" not in file.read_bytes() and b".py" not in file.read_bytes()


def test_other_scores_than_the_map_s(run, phantoms, a2bgan, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    chosen = json.loads((copy / "selection.json").read_text())
    chosen["pick"] |= {"score": "discriminator", "map_score": None, "rule": "last"}
    (copy / "selection.json").write_text(json.dumps(chosen))
    result = a2bgan("export", copy, "--format", "onnx", "--data", phantoms)
    assert result.exit_code == 0, result.output
    assert load_exported(copy / "model.onnx").pick == load_trained(RunFolder.open(copy)).pick


def test_files_name_no_patient_and_no_image(files, phantoms):
    for form in ("onnx", "openvino"):
        text = json.dumps(load_exported(files[form]).about.model_dump())
        assert str(phantoms) not in text
        assert "phantom" not in text
        assert ".png" not in text


def test_a_file_is_checked_on_all_images_a_batch_at_a_time(run, monkeypatch, tmp_path):
    trained = load_trained(RunFolder.open(run))
    monkeypatch.setattr(detection, "PIXELS_IN_CACHE", 2 * trained.data.size**2)
    kept, seen = trained.method.find, []

    def find(x, version=None):
        seen.append(x.shape[0])
        return kept(x, version)

    monkeypatch.setattr(trained.method, "find", find)
    side = trained.data.size
    images = np.random.default_rng(0).integers(0, 255, (5, 1, side, side), dtype=np.uint8)
    check = export.export(trained, None, images, "torch", tmp_path / "m.pt2")
    assert check.images == 5
    assert seen[:3] == [2, 2, 1]


def test_a_file_too_far_from_pytorch_is_not_left(
    run, phantoms, a2bgan, says, tmp_path, monkeypatch
):
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    out = tmp_path / "model.onnx"
    assert "not written" in says(a2bgan("export", run, "--out", out, "--data", phantoms))
    assert not list(tmp_path.iterdir())


def test_what_cannot_be_exported_is_one_line(run, phantoms, a2bgan, says, tmp_path, monkeypatch):
    line = says(a2bgan("export", run, "--out", tmp_path / "m.bin", "--data", phantoms))
    assert "ends with .onnx" in line
    line = says(a2bgan("export", run, "--out", tmp_path / "no" / "m.onnx", "--data", phantoms))
    assert "cannot be written" in line

    def branches(x, version=None):
        raise RuntimeError if x.sum() > 0 else ValueError

    trained = load_trained(RunFolder.open(run))
    kept = trained.method.find
    calls = []

    def find(x, version=None):
        calls.append(x)
        return kept(x, version) if len(calls) == 1 else branches(x)

    monkeypatch.setattr(trained.method, "find", find)
    images = np.random.default_rng(0).integers(0, 255, (2, 1, 32, 32), dtype=np.uint8)
    with pytest.raises(InputError, match="cannot be exported to onnx"):
        export.export(trained, None, images, "onnx", tmp_path / "m.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    with pytest.raises(InputError, match=r"onnxscript is not installed; .*\[export\]"):
        export.export(load_trained(RunFolder.open(run)), None, images, "onnx", tmp_path / "m.onnx")


def test_predict_says_what_it_cannot_score_with(files, run, phantoms, a2bgan, says, tmp_path):
    out = ("--out", tmp_path / "out")
    assert "no such file" in says(a2bgan("predict", tmp_path / "no.onnx", phantoms, *out))
    for suffix in ("onnx", "xml"):
        damaged = tmp_path / f"damaged.{suffix}"
        damaged.write_bytes(b"nothing")
        assert "damaged" in says(a2bgan("predict", damaged, phantoms, *out))
    line = says(a2bgan("predict", files["onnx"], phantoms, *out, "--runtime", "openvino"))
    assert "a file for onnx" in line
    line = says(a2bgan("predict", files["onnx"], phantoms, *out, "--score", "mean"))
    assert "leave out --score" in line
    line = says(a2bgan("predict", files["onnx"], phantoms, *out, "--half"))
    assert "onnx computes in float32 alone: leave out --half" in line
    line = says(a2bgan("predict", run, phantoms, *out, "--runtime", "onnx"))
    assert "a2bgan export" in line
    line = says(a2bgan("predict", files["torch"], phantoms, *out))
    assert ".pt2 files are for other programs; export with --format onnx or openvino" in line


def test_brackets_in_a_reason_are_no_markup(run, a2bgan, says, tmp_path, monkeypatch):
    def refuse(*_: object) -> None:
        raise ImageError("odd [/b]")

    monkeypatch.setattr("a2bgan.data.preprocessing.load_image", refuse)
    result = a2bgan("export", run, "--out", tmp_path / "m.onnx", "--data", tmp_path / "a[/b].png")
    assert "2 images or more" in says(result)
    assert "a[/b].png: odd [/b]" in result.output.replace("\n", "")


def test_a_network_that_is_not_from_here_is_refused(tmp_path):
    import onnx

    value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])
    result = onnx.helper.make_tensor_value_info("score", onnx.TensorProto.FLOAT, ["n", 1, 8, 8])
    node = onnx.helper.make_node("Abs", ["image"], ["score"])
    graph = onnx.helper.make_graph([node], "g", [value], [result])
    opset = [onnx.helper.make_opsetid("", 18)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=9), tmp_path / "m.onnx")
    with pytest.raises(InputError, match="not written by `a2bgan export`"):
        load_exported(tmp_path / "m.onnx")


def test_a_run_scores_with_its_file_while_that_is_of_its_checkpoint(
    files, run, phantoms, a2bgan, says, tmp_path
):
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    shutil.copy(files["onnx"], copy)
    out = ("--runtime", "onnx", "--out", tmp_path / "out")
    assert a2bgan("predict", copy, phantoms, *out).exit_code == 0
    # Another rule picks the same, and another map score beside it.
    selection = json.loads((copy / "selection.json").read_text())
    selection["pick"] |= {"rule": "last", "map_score": None}
    (copy / "selection.json").write_text(json.dumps(selection))
    assert a2bgan("predict", copy, phantoms, *out).exit_code == 0
    selection["pick"]["score"] = "top-k"
    (copy / "selection.json").write_text(json.dumps(selection))
    assert "makes it anew" in says(a2bgan("predict", copy, phantoms, *out))
