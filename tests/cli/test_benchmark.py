"""`a2bgan benchmark` and `a2bgan methods`."""

import csv
import json

import pytest

from a2bgan.detection.measures.position import position_warning
from a2bgan.training.methods import METHODS

SETTINGS = (
    "train.steps=3",
    "data.size=32",
    "holdout.at_least=2",
    "holdout.at_most=null",
    "train.accelerator=cpu",
)
OPTIONS = [part for setting in SETTINGS for part in ("--set", setting)]

SMALL = [
    part
    for setting in (
        "method.translator.width=4",
        "method.translator.blocks=1",
        "method.discriminator.width=4",
        "method.discriminator.warmup_steps=2",
    )
    for part in ("--set", setting)
]
"""Small networks, for A2B-GAN alone."""


def warning_of(run):
    """The note that a run's map earns, if any, by what was measured."""
    measured = json.loads((run / "benchmark.json").read_text())
    return [] if position_warning(measured) is None else ["map no better than position alone"]


def test_methods_lists_every_method(a2bgan):
    result = a2bgan("methods")
    assert result.exit_code == 0
    for name, method in METHODS.items():
        assert name in result.output
        assert method.facts.title in result.output
    last = result.output.strip().splitlines()[-1]
    ours = "a2bgan, demo, fast, healthygan, paper, paper-simulated, xray"
    assert last == f"Presets of A2B-GAN: {ours}."


def test_a_benchmark_makes_a_table_goes_on_and_says_what_failed(tiny_set, tmp_path, a2bgan):
    out = tmp_path / "bench"
    common = ("benchmark", "--data", tiny_set, "--out", out, *OPTIONS, *SMALL)
    first = a2bgan(*common, "--methods", "a2bgan", "--seeds", 1)
    assert first.exit_code == 0, first.output
    config = out / "runs/a2bgan/0/config.yaml"
    written = config.stat().st_mtime_ns
    broken = out / "runs/paper/0"
    broken.mkdir(parents=True)
    (broken / "notes.txt").write_text("not a run")
    result = a2bgan(*common, "--methods", "paper,a2bgan", "--seeds", 1)
    assert result.exit_code == 1
    assert config.stat().st_mtime_ns == written  # what is there is not trained again

    with (out / "benchmark.csv").open(newline="") as file:
        head, *rows = list(csv.reader(file))
    table = [dict(zip(head, row, strict=True)) for row in rows]
    paper = table.pop()
    alone = table.pop()  # the set has masks
    assert alone["method"].lower() == "position alone"
    ours, trivial = sorted(table, key=lambda row: row["method"])
    assert (ours["method"], trivial["method"]) == ("A2B-GAN", "Best trivial statistic")
    assert trivial["score"] in trivial["note"] and "mixed against healthy" in trivial["note"]
    assert trivial["p against A2B-GAN"] != "" or trivial["AUROC (95 %)"] == ours["AUROC (95 %)"]
    assert "matched AUROC (95 %)" in head
    assert 0 <= float(ours["AUROC (95 %)"].split()[0]) <= 1
    assert float(ours["memory, GB"]) > 0.1 and float(ours["images/s"]) > 0
    assert ours["note"] == "; ".join(warning_of(out / "runs/a2bgan/0"))
    assert "exists and is not a run" in paper["note"]
    for suffix in ("md", "tex", "png"):
        assert (out / f"benchmark.{suffix}").stat().st_size > 100
    assert str(tmp_path) not in (out / "benchmark.md").read_text()


def test_test_images_and_masks_that_cannot_be_read_are_notes_and_no_failure(
    tiny_set, tmp_path, a2bgan
):
    with (tiny_set / "manifest.csv").open() as file:
        tested = [row for row in csv.DictReader(file) if row["split"] == "test"]
    masks = [row["mask"] for row in tested[2:] if row["mask"]]
    for name in (tested[0]["path"], tested[1]["path"], *masks[:3]):
        (tiny_set / name).write_bytes(b"no image")
    out = tmp_path / "bench"
    result = a2bgan(
        "benchmark", "--data", tiny_set, "--out", out, *OPTIONS, "--methods", "autoencoder",
        "--seeds", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with (out / "benchmark.csv").open(newline="") as file:
        ours = next(row for row in csv.DictReader(file) if row["method"].startswith("Autoencoder"))
    notes = ["2 test images left out", "3 masks left out", *warning_of(out / "runs/autoencoder/0")]
    assert ours["note"] == "; ".join(notes)


def test_a_damaged_result_is_measured_again_and_no_result_of_evaluate_is_a_failure(
    tiny_set, tmp_path, a2bgan
):
    common = (
        "benchmark",
        "--data",
        tiny_set,
        "--out",
        tmp_path,
        *OPTIONS,
        "--methods",
        "autoencoder",
    )
    assert a2bgan(*common, "--seeds", 1).exit_code == 0
    run = tmp_path / "runs/autoencoder/0"
    text = (run / "benchmark.json").read_text()
    (run / "benchmark.json").write_text(text[:50])
    again = a2bgan(*common, "--seeds", 1)
    assert again.exit_code == 0, again.output
    measured = json.loads((run / "benchmark.json").read_text())
    assert measured["auroc"] == json.loads(text)["auroc"]
    # Measures of other images are there, and the new ones cannot be written.
    (run / "benchmark.json").write_text(json.dumps(measured | {"manifest_sha256": "0" * 64}))
    (run / "benchmark-scores.csv").unlink()
    (run / "benchmark-scores.csv").mkdir()
    result = a2bgan(*common, "--seeds", 1)
    assert result.exit_code == 1
    assert "failed: " in (tmp_path / "benchmark.csv").read_text()


def test_the_command_is_recorded_with_all_that_figures_depend_on(
    tiny_set, tmp_path, a2bgan, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    weights = tmp_path / "secret/weights.pth"
    result = a2bgan(
        "benchmark", "--data", tiny_set, "--out", tmp_path / "b", *OPTIONS, "--methods",
        "autoencoder", "--seeds", 1, "--jobs", 2, "--backbone-weights", weights,
        "--keep-identifiers",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    command = (tmp_path / "b/benchmark.md").read_text().splitlines()[0]
    begins = "`OMP_NUM_THREADS=1 a2bgan benchmark --data tiny --methods autoencoder "
    assert command.startswith(begins)
    for part in ("--out DIR", "--jobs 2", "--backbone-weights FILE", "--keep-identifiers"):
        assert f" {part}" in command
    assert "secret" not in command and str(tmp_path) not in command


@pytest.mark.parametrize(
    ("own", "jobs", "given"),
    [("3", 2, "3"), (None, 2, "4"), ("", 2, "4"), ("3", 1, "3"), (None, 1, None)],
)
def test_threads_are_the_user_s_or_a_share_and_are_recorded(
    tiny_set, tmp_path, a2bgan, monkeypatch, own, jobs, given
):
    seen = []

    def run(children, *arguments):
        seen.append(children.environment.get("OMP_NUM_THREADS"))
        return "not trained"

    monkeypatch.setattr("a2bgan.benchmark.child_commands.Children.run", run)
    monkeypatch.setattr("os.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if own is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", own)
    out = tmp_path / "b"
    out.mkdir()
    a2bgan(
        "benchmark", "--data", tiny_set, "--out", out, *OPTIONS, "--methods", "a2bgan",
        "--seeds", 2, "--jobs", jobs,
    )  # fmt: skip
    assert seen == [given, given]
    prefix = f"`OMP_NUM_THREADS={given} a2bgan" if given else "`a2bgan"
    assert (out / "benchmark.md").read_text().startswith(prefix)


def test_runs_with_other_settings_are_not_mixed_in(tiny_set, tmp_path, a2bgan, says):
    common = ("benchmark", "--data", tiny_set, "--out", tmp_path, "--methods", "autoencoder")
    assert a2bgan(*common, *OPTIONS, "--seeds", 1).exit_code == 0
    other = a2bgan(*common, *OPTIONS, "--seeds", 1, "--set", "train.batch_size=3")
    assert "a run with other settings or images" in says(other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--methods", "a2bgan,nothing"), "unknown preset 'nothing'"),
        (("--set", "data.sise=3"), "unknown setting"),
    ],
)
def test_wrong_options_are_said_before_anything_is_trained(
    tiny_set, tmp_path, a2bgan, says, options, message
):
    result = a2bgan("benchmark", "--data", tiny_set, "--out", tmp_path / "b", *options)
    assert message in says(result)
    assert not (tmp_path / "b").exists()


def test_without_both_labels_there_is_nothing_to_compare(tiny_set, tmp_path, a2bgan, says):
    manifest = tiny_set / "manifest.csv"
    lines = manifest.read_text().splitlines()
    manifest.write_text("\n".join(line.replace("test,1", "test,") for line in lines) + "\n")
    result = a2bgan("benchmark", "--data", tiny_set, "--out", tmp_path / "b")
    assert "test images with label 0 and with label 1" in says(result)


@pytest.mark.parametrize("task", ["detection", "translation"])
def test_brackets_in_a_failure_are_no_markup(tiny_set, tmp_path, a2bgan, monkeypatch, task):
    monkeypatch.setattr(
        "a2bgan.benchmark.child_commands.Children.run", lambda *_: "out[/b]: not trained"
    )
    out = tmp_path / "out[/b]"
    out.mkdir(parents=True)  # the slash makes two folders of it
    method = {"detection": "a2bgan,ganomaly", "translation": "a2bgan"}[task]
    result = a2bgan(
        "benchmark", "--task", task, "--data", tiny_set, "--out", out, *OPTIONS, "--methods",
        method, "--seeds", 1,
    )  # fmt: skip
    assert isinstance(result.exception, SystemExit), result.exception
    assert result.exit_code == 1
    assert result.output.count("out[/b]: not trained") >= len(method.split(","))
    name = {"detection": "benchmark", "translation": "translation"}[task]
    assert "[/b]: not trained" in (out / f"{name}.csv").read_text()
