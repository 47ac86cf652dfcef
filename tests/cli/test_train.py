import json
import re
import shutil
import threading

import pytest

from a2bgan.cli.train import _join_run
from a2bgan.data.manifest import read_manifest
from a2bgan.training import loop
from a2bgan.training.config import load_config, write_config
from a2bgan.training.run_folder import RunFolder

PU = ("train.steps=2", "data.size=32", "method.input_size=32", "train.accelerator=cpu")
"""Settings of preset `pu`, a method without twins, for a training of a second."""


def test_an_existing_run_is_kept_or_replaced(run, phantoms, a2bgan, says, small, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    again = ("train", "--data", phantoms, "--out", copy, *small)
    assert "--resume goes on with it, --overwrite replaces it" in says(a2bgan(*again))
    assert a2bgan(*again, "--overwrite").exit_code == 0


def test_a_run_is_not_replaced_by_processes_that_start_on_their_own(run, a2bgan, says, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    result = a2bgan("train", "--data", "phantom", "--out", run, "--overwrite")
    assert f"remove {run} first" in says(result)


def test_repeated_runs_are_for_one_process(a2bgan, says, tmp_path):
    train = ("train", "--data", "phantom", "--out", tmp_path / "run", "--seeds", 2)
    line = says(a2bgan(*train, "--set", "train.devices=2"))
    assert "--seeds is for one process" in line


def test_a_process_that_joins_waits_until_the_images_have_moved(run, phantoms, tmp_path):
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    moved = shutil.copytree(phantoms.parent, tmp_path / "moved") / phantoms.name
    manifest = read_manifest(moved)
    leading = threading.Timer(1.5, copy.keep_manifest, [manifest])
    leading.start()
    joined = _join_run(copy.path, str(manifest.root.resolve()))
    assert joined.image_root() == manifest.root.resolve()
    leading.join()


def test_images_of_one_patient_cannot_be_held_out(phantoms, a2bgan, says, small, tmp_path):
    manifest = shutil.copytree(phantoms.parent, tmp_path / "set") / phantoms.name
    manifest.write_text(re.sub(r"\bP\d+", "ANON", manifest.read_text()))
    command = ("train", "--data", manifest, "--out", tmp_path / "run", *small)
    command += ("--set", "train.steps=2", "--set", "holdout.at_most=null")
    refused = a2bgan(*command)
    assert refused.exit_code == 1 and not (tmp_path / "run").exists()
    assert "1 patient has images both in healthy and in mixed" in says(refused)
    result = a2bgan(*command, "--allow-leaks")
    said = " ".join(result.output.split())
    assert "allowed, and what is measured is too good" in said
    assert "nothing held out to select by (too few patients, or each with too many" in said
    assert "nothing held out for the threshold (too few patients" in said
    assert "no p-values and no flags" in said


def test_a_finished_run_resumes_to_nothing(run, a2bgan, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    chosen = json.loads((copy / "selection.json").read_text())
    chosen["pick"] |= {"score": "top-k", "rule": "labels"}
    (copy / "selection.json").write_text(json.dumps(chosen))
    result = a2bgan("train", "--out", copy, "--resume")
    assert result.exit_code == 0
    assert "6 steps" in result.output
    # What was selected since it ended stays; without a selection there is one again.
    assert json.loads((copy / "selection.json").read_text()) == chosen
    (copy / "selection.json").unlink()
    assert a2bgan("train", "--out", copy, "--resume").exit_code == 0
    assert json.loads((copy / "selection.json").read_text())["pick"]["rule"] != "labels"


def test_a_profile_says_where_the_time_of_steps_goes(phantoms, a2bgan, small, tmp_path):
    options = (*small, "--set", "train.steps=12", "--profile")
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *options)
    assert "| aten::" in result.output
    assert (tmp_path / "run" / "profile" / "trace.json").exists()


def test_float32_is_noted_where_bfloat16_is_faster(phantoms, a2bgan, small, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "has_native_bfloat16", lambda device_type: True)
    train = ("train", "--data", phantoms, *small)
    for precision, noted in (("32-true", True), ("auto", False)):
        out = ("--out", tmp_path / precision, "--set", f"train.precision={precision}")
        assert ("--set train.precision=auto is faster" in a2bgan(*train, *out).output) == noted


def test_resume_keeps_settings_and_data(run, tiny_set, a2bgan, says):
    resume = ("train", "--out", run, "--resume")
    assert "keeps the run's settings" in says(a2bgan(*resume, "--set", "data.size=64"))
    assert "not the manifest" in says(a2bgan(*resume, "--data", tiny_set))


def test_unknown_settings_and_presets(phantoms, a2bgan, says, tmp_path):
    train = ("train", "--data", phantoms, "--out", tmp_path / "run")
    assert "data.sise: unknown setting" in says(a2bgan(*train, "--set", "data.sise=3"))
    assert "unknown preset 'best'" in says(a2bgan(*train, "--preset", "best"))
    assert not (tmp_path / "run").exists()


def test_unreadable_images_are_named_counted_and_left_out(tiny_set, a2bgan, small, tmp_path):
    first = next((tiny_set).rglob("*.png"))
    rows = (tiny_set / "manifest.csv").read_text().splitlines()
    healthy = [row.split(",")[0] for row in rows if ",healthy," in row]
    (tiny_set / healthy[0]).write_bytes(b"")
    (tiny_set / healthy[1]).write_bytes(first.read_bytes()[:60])
    result = a2bgan("train", "--data", tiny_set, "--out", tmp_path / "run", *small)
    assert result.exit_code == 0
    assert f"{healthy[0]}: empty file" in result.output
    assert "2 images left out of the healthy set" in result.output
    kept = re.search(r"(\d+) healthy and .* held out: (\d+) and .* (\d+) healthy", result.output)
    assert sum(map(int, kept.groups())) == len(healthy) - 2


def test_a_set_of_which_nothing_can_be_read(tiny_set, a2bgan, says, small, tmp_path):
    for row in (tiny_set / "manifest.csv").read_text().splitlines():
        if ",mixed," in row:
            (tiny_set / row.split(",")[0]).unlink()
    result = a2bgan("train", "--data", tiny_set, "--out", tmp_path / "run", *small)
    assert "mixed set: none of its 10 images can be read" in says(result)


def test_repeated_runs_differ_by_their_seed_alone(phantoms, a2bgan, small, tmp_path):
    out = tmp_path / "runs"
    train = ("train", "--data", phantoms, "--out", out, *small, "--seeds", 2)
    assert a2bgan(*train).exit_code == 0
    configs = [(out / f"seed-{seed}" / "config.yaml").read_text() for seed in range(2)]
    assert configs[0].replace("  seed: 0\n  precision", "  seed: 1\n  precision") == configs[1]
    assert len({(out / f"seed-{s}" / "holdout.csv").read_text() for s in range(2)}) == 1
    more = a2bgan("train", "--out", out, "--resume", "--seeds", 3)
    assert more.exit_code == 0, more.output
    assert (out / "seed-2" / "config.yaml").read_text() == configs[1].replace(
        "  seed: 1\n", "  seed: 2\n"
    )

    result = a2bgan("evaluate", out)
    assert result.exit_code == 0, result.output
    metrics = json.loads((out / "metrics.json").read_text())
    each = [json.loads((out / f"seed-{s}" / "metrics.json").read_text()) for s in range(3)]
    assert metrics["n_runs"] == 3
    assert metrics["auroc"] == pytest.approx(sum(m["auroc"] for m in each) / 3)
    assert metrics["auroc_ci"][0] <= metrics["auroc"] <= metrics["auroc_ci"][1]
    assert metrics["auroc_sd"] >= 0


def test_training_ends_when_gains_have_ended(phantoms, a2bgan, small, tmp_path):
    early = ("selection.patience=2", "train.checkpoint_every=2", "train.steps=5000")
    settings = [part for setting in early for part in ("--set", setting)]
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *small, *settings)
    assert result.exit_code == 0, result.output
    steps = int(re.search(r"(\d+) steps in", result.output)[1])
    assert 6 <= steps < 400
    again = a2bgan("train", "--out", tmp_path / "run", "--resume")
    assert f"{steps} steps in" in again.output


def test_the_paper_s_rule_needs_no_file(phantoms, a2bgan, small, tmp_path):
    settings = [part for s in ("selection.by=fid", "holdout.fraction=0") for part in ("--set", s)]
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *small, *settings)
    assert result.exit_code == 0
    chosen = json.loads((tmp_path / "run" / "selection.json").read_text())
    assert chosen["pick"]["rule"] == "fid"
    assert chosen["features"].startswith("EfficientNet-Lite0")


def test_a_rule_that_a_method_cannot_follow_is_said(phantoms, a2bgan, tmp_path):
    options = [part for s in (*PU, "selection.by=fid") for part in ("--set", s)]
    run = tmp_path / "run"
    result = a2bgan("train", "--data", phantoms, "--preset", "pu", "--out", run, *options)
    assert result.exit_code == 0
    assert "nothing selected: PU classifier makes no healthy twins" in result.output
    assert not (run / "selection.json").exists()
    assert a2bgan("evaluate", run).exit_code == 0


@pytest.mark.parametrize(
    "options",
    [
        ("--preset", "ganomaly", "--set", "data.size=100"),
        ("--set", "train.accelerator=warp"),
        ("--preset", "padim", "--set", "method.backbone_weights=none.pth"),
    ],
)
def test_what_cannot_be_trained_leaves_no_run_behind(options, phantoms, a2bgan, says, tmp_path):
    says(a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *options))
    assert not (tmp_path / "run").exists()


def test_patience_without_anything_held_out_is_said_before_training(
    phantoms, a2bgan, small, tmp_path
):
    settings = [
        part for s in ("selection.patience=2", "holdout.at_most=0.1") for part in ("--set", s)
    ]
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *small, *settings)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    words = "to select by: selection.patience will not end the training"
    assert words in said
    assert said.index(words) < said.index("6 steps in")


def test_a_training_that_was_all_warm_up_is_no_success(phantoms, a2bgan, small, run, tmp_path):
    out = tmp_path / "run"
    settings = ("--set", "train.steps=1", "--set", "method.discriminator.warmup_steps=5")
    result = a2bgan("train", "--data", phantoms, "--out", out, *small, *settings)
    assert result.exit_code == 0, result.output
    said = " ".join(result.output.split())
    assert "warning: nothing that finds anomalies has been trained" in said
    assert "--set train.steps=N or --set train.minutes=N" in said
    assert a2bgan("evaluate", out).exit_code == 0
    trained = a2bgan("train", "--out", shutil.copytree(run, tmp_path / "trained"), "--resume")
    assert "nothing that finds anomalies" not in trained.output


def test_brackets_in_the_name_of_a_run_are_no_markup(phantoms, a2bgan, tmp_path):
    run = tmp_path / "out[/b]"
    options = [part for s in (*PU, "selection.by=fid") for part in ("--set", s)]
    result = a2bgan("train", "--data", phantoms, "--preset", "pu", "--out", run, *options)
    assert result.exit_code == 0, result.output
    assert f"for the threshold -> {run}" in result.output
    assert "nothing selected: " in result.output


def test_a_method_without_steps_is_not_profiled(a2bgan, says, tmp_path):
    command = ("train", "--data", "phantom", "--out", tmp_path / "run", "--profile")
    line = says(a2bgan(*command, "--preset", "padim"))
    assert line.startswith("PaDiM looks at every image once") and "leave out --profile" in line
    write_config(load_config("patchcore"), tmp_path / "config.yaml")
    line = says(a2bgan("train", "--out", tmp_path, "--resume", "--profile"))
    assert line.startswith("PatchCore looks at")


def test_what_a_training_will_take_is_said_once(phantoms, a2bgan, small, tmp_path):
    result = a2bgan("train", "--data", phantoms, "--out", tmp_path / "run", *small)
    assert result.exit_code == 0, result.output
    assert len(re.findall(r"about \S+ more minutes, at \S+ steps a second", result.output)) == 1


def test_the_size_follows_the_images_and_stays(phantoms, a2bgan, small, tmp_path):
    options = ("--set", "data.size=auto")
    out = tmp_path / "run"
    result = a2bgan("train", "--data", phantoms, "--out", out, *small, *options)
    assert result.exit_code == 0, result.output
    assert "trained at 128 x 128 pixels" in result.output
    written = (out / "config.yaml").read_text()
    assert RunFolder(out).config().data.size == 128
    assert a2bgan("train", "--out", out, "--resume").exit_code == 0
    assert (out / "config.yaml").read_text() == written
    assert (
        "trained at"
        not in a2bgan("train", "--data", phantoms, "--out", tmp_path / "b", *small).output
    )
