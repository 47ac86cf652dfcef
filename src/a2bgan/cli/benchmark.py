"""`a2bgan benchmark` and `a2bgan methods`."""

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import errors, output
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest
    from a2bgan.report.benchmark_table import Repeat
    from a2bgan.training.run_folder import RunFolder

METRICS_FILE, SCORES_FILE = "metrics.json", "metrics-scores.csv"
"""As `a2bgan evaluate` names them."""


def methods() -> None:
    """Every method there is, and what it needs and gives."""
    from rich.table import Table

    from a2bgan.training.methods import METHODS

    def mark(value: bool) -> str:
        return "yes" if value else "-"

    table = Table("--preset", "method", "mixed set", "map", "twin", "pretrained", "paper", box=None)
    for name, method in METHODS.items():
        f = method.facts
        marks = map(mark, (f.uses_mixed, f.makes_map, f.makes_twin, f.pretrained))
        table.add_row(name, f.title, *marks, f.paper)
    output.print(table)
    output.print("Each also as PRESET-paper, with its paper's settings; A2B-GAN's is `paper`.")


def benchmark(
    data: Annotated[
        str, typer.Option(help="Manifest (.csv), folder, or 'phantom', with labelled test images.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the table and the runs.")],
    methods: Annotated[
        str,
        typer.Option(help="'all', or presets with commas between: a2bgan,ganomaly-paper,..."),
    ] = "all",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method.")] = 3,
    minutes: Annotated[
        float | None,
        typer.Option(min=0.01, help="Training time of each; by default the presets' own."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value for every method, such as data.size=128."),
    ] = None,
    jobs: Annotated[
        int, typer.Option(min=1, help="Trainings at a time, which share the processor's cores.")
    ] = 1,
    random_features: Annotated[
        bool,
        typer.Option("--random-features", help="Untrained backbones where pretrained are missing."),
    ] = False,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbones; by default timm's cache.")
    ] = None,
) -> None:
    """Train and score many methods on the same images; one table. Goes on where it was stopped."""
    from rich.table import Table

    from a2bgan.data.manifest import open_data, require_training_sets
    from a2bgan.report.benchmark_table import MethodRow, table_rows, write_tables
    from a2bgan.training.config import load_config
    from a2bgan.training.methods import METHODS
    from a2bgan.training.run_folder import RunFolder

    manifest = open_data(data)
    require_training_sets(manifest)
    if {row.label for row in manifest.split("test")} < {0, 1}:
        raise InputError(f"{data}: a benchmark needs test images with label 0 and with label 1")
    names = list(METHODS) if methods == "all" else methods.split(",")
    shared = list(set_ or [])
    if minutes is not None:
        shared.append(f"train.minutes={minutes:g}")
    settings: dict[str, list[str]] = {}
    for name in names:
        settings[name] = list(shared)
        if load_config(name).facts.pretrained:
            if random_features:
                settings[name].append("method.random_features=true")
            if backbone_weights is not None:
                settings[name].append(f"method.backbone_weights={backbone_weights.resolve()}")
        load_config(name, None, settings[name])

    threads = max(1, (os.cpu_count() or 1) // jobs) if jobs > 1 else None
    one_at_a_time = Lock()

    def repeat(name: str, seed: int) -> "Repeat | str":
        run = RunFolder(out / "runs" / name / f"{seed}")
        seeded = [*settings[name], f"train.seed={seed}"]
        if run.config_file.exists():
            same = run.config() == load_config(name, None, seeded)
            if not same or run.manifest_sha256() != manifest.sha256:
                raise InputError(
                    f"{run.path}: a run with other settings or images; choose another --out"
                )
        if not (run.path / SCORES_FILE).exists():
            failure = _train(run, data, name, seeded, threads)
            if failure:
                return failure
        with one_at_a_time:
            return _evaluated(run, manifest)

    with ThreadPoolExecutor(jobs) as pool:
        pending = {
            name: [pool.submit(repeat, name, seed) for seed in range(seeds)] for name in names
        }
        rows = []
        for name, futures in pending.items():
            found = [future.result() for future in futures]
            failures = [f for f in found if isinstance(f, str)]
            repeats = [f for f in found if not isinstance(f, str)]
            facts = load_config(name).facts
            rows.append(MethodRow(name, facts, repeats, failures[0] if failures else ""))
            said = failures[0] if failures else f"AUROC {rows[-1].auroc:.4f}"
            errors.print(f"{facts.title} ({name}): {said}", soft_wrap=True, highlight=False)
    head, cells = table_rows(rows)
    table = Table(*head, box=None)
    for line in cells:
        table.add_row(*line)
    output.print(table)
    command = _command(data, methods, seeds, minutes, set_ or [], random_features)
    for path in write_tables(out, rows, command):
        output.print(f"-> {path}", soft_wrap=True)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


def _train(
    run: "RunFolder", data: str, preset: str, settings: list[str], threads: int | None
) -> str:
    """Train in a process of its own, whose memory can be told; the reason if that fails."""
    arguments = ["train", "--out", str(run.path), "--data", data]
    if run.config_file.exists():
        arguments.append("--resume")
    else:
        arguments += ["--preset", preset]
        arguments += [part for setting in settings for part in ("--set", setting)]
    environment = dict(os.environ)
    if threads is not None:
        environment["OMP_NUM_THREADS"] = str(threads)
    done = subprocess.run(
        [sys.executable, "-m", "a2bgan.cli.app", *arguments],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    if not done.returncode:
        return ""
    said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return said[-1].removeprefix("error: ") if said else f"exit code {done.returncode}"


def _evaluated(run: "RunFolder", manifest: "Manifest") -> "Repeat | str":
    """What a trained run does on the test images, measured where it was not yet."""
    from a2bgan.detection.evaluate import evaluate, read_scores
    from a2bgan.detection.trained import load_trained
    from a2bgan.report.benchmark_table import Repeat

    scores, metrics = run.path / SCORES_FILE, run.path / METRICS_FILE
    if not scores.exists():
        try:
            found = evaluate(load_trained(run), manifest)
        except InputError as error:
            return str(error)
        metrics.write_text(json.dumps(found.metrics, indent=2) + "\n")
        found.write_scores(scores)
    resources = json.loads(run.resources_file.read_text())
    return Repeat(json.loads(metrics.read_text()), resources, *read_scores(scores))


def _command(
    data: str,
    methods: str,
    seeds: int,
    minutes: float | None,
    settings: list[str],
    random_features: bool,
) -> str:
    """The command as it was given, without where the data lies."""
    shown = data if data == "phantom" else Path(data).name
    parts = [f"a2bgan benchmark --data {shown} --methods {methods} --seeds {seeds}"]
    if minutes is not None:
        parts.append(f"--minutes {minutes:g}")
    parts += [f"--set {setting}" for setting in settings]
    if random_features:
        parts.append("--random-features")
    return " ".join(parts)
