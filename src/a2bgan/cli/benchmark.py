"""`a2bgan benchmark` and `a2bgan methods`."""

import json
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import errors, output, say_written
from a2bgan.cli.data_options import KeepIdentifiersOption, WhereOption, open_chosen
from a2bgan.cli.feature_network import feature_network
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from a2bgan.data.manifest import Manifest
    from a2bgan.report.benchmark_table import BenchmarkTable, MethodRow, Repeat
    from a2bgan.training.methods.method import Facts
    from a2bgan.training.run_folder import RunFolder


class Task(StrEnum):
    """What methods are compared in."""

    DETECTION = "detection"
    TRANSLATION = "translation"


ON_SCREEN = ("method", "AUROC (95 %)", "matched AUROC (95 %)", "p against A2B-GAN", "note")
"""Columns that fit a terminal, where they are there; the files have all."""


def methods() -> None:
    """Every method there is, and what it needs and gives."""
    from rich.table import Table

    from a2bgan.training.config import load_config, preset_names
    from a2bgan.training.methods import METHODS

    table = Table("--preset", "method", "task", "learns from", "gives", "paper", box=None)
    for column in table.columns[:-1]:
        column.no_wrap = True
    for name, method in METHODS.items():
        f = method.facts
        task = "both" if len(f.tasks) > 1 else f.tasks[0]
        needs = "B and A" if f.uses_mixed else "B, weights" if f.pretrained else "B"
        gives = ", ".join(["map"] * f.makes_map + ["twin"] * f.makes_twin) or "score"
        table.add_row(name, f.title, task, needs, gives, f.paper)
    output.print(table)
    output.print(
        "B: healthy images; A: mixed ones; weights: of a backbone trained on other images.\n"
        "Each also as PRESET-paper, with its paper's settings; A2B-GAN's is `paper`."
    )
    ours = [name for name in preset_names() if load_config(name).method.name == "a2bgan"]
    output.print(f"Presets of A2B-GAN: {', '.join(ours)}.", soft_wrap=True)


def benchmark(
    data: Annotated[
        str, typer.Option(help="Manifest (.csv), folder, or 'phantom', with labelled test images.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for the table and the runs.")],
    methods: Annotated[
        str,
        typer.Option(
            help="'all' that were made for the task, or presets with commas between: "
            "a2bgan,ganomaly-paper,..."
        ),
    ] = "all",
    task: Annotated[
        Task,
        typer.Option(help="translation: FID, KID and error against the truth, of translators."),
    ] = Task.DETECTION,
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each method.")] = 3,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            help="Training time of each; by default the presets' own. padim and patchcore look at "
            "every image once, however long that takes.",
        ),
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
        typer.Option(
            "--random-features",
            help="Untrained networks where pretrained ones (backbones, Inception) are missing.",
        ),
    ] = False,
    backbone_weights: Annotated[
        Path | None, typer.Option(help="Weights of the backbones; by default timm's cache.")
    ] = None,
    inception: Annotated[
        Path | None, typer.Option(help="translation: Inception weights, for FID and KID.")
    ] = None,
    lpips: Annotated[
        Path | None, typer.Option(help="translation: torchvision's AlexNet weights, for LPIPS.")
    ] = None,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Train and score many methods on the same images; one table. Goes on where it was stopped."""
    from a2bgan.data.manifest import require_training_sets
    from a2bgan.report.benchmark_table import make_table, write_tables
    from a2bgan.report.trivial_baseline import trivial_row
    from a2bgan.training.config import load_config
    from a2bgan.training.methods import METHODS
    from a2bgan.training.run_folder import RunFolder

    made_for = [name for name, method in METHODS.items() if task in method.facts.tasks]
    names = made_for if methods == "all" else list(dict.fromkeys(methods.split(",")))
    settings = set_ or []
    # How images are read, such as which slices of volumes, is the same for all methods.
    reading = load_config(names[0], None, settings).data
    manifest = open_chosen(data, reading, where, keep_identifiers)
    require_training_sets(manifest)
    _require_test_images(manifest, data, task)
    translating = task is Task.TRANSLATION
    if translating:
        network = feature_network(inception, random_features, reading.channels)
    facts = {name: load_config(name).facts for name in names}
    opening = ["--data", data]
    opening += ["--where", where] if where else []
    opening += ["--keep-identifiers"] if keep_identifiers else []
    trainings = {}
    for name in names:
        own = _settings(facts[name], settings, task, minutes, random_features, backbone_weights)
        for seed in range(seeds):
            run = RunFolder(out / "runs" / name / f"{seed}")
            training = Training(run, opening, manifest, name, [*own, f"train.seed={seed}"])
            training.refuse_other_run()
            trainings[name, seed] = training
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if not threads and jobs > 1 and not translating:  # translators are trained one after the other
        threads = str(max(1, (os.cpu_count() or 1) // jobs))
    command = _command(
        task,
        data,
        methods,
        seeds=seeds,
        minutes=minutes,
        settings=settings,
        jobs=jobs,
        where=where,
        random_features=random_features,
        files={"backbone-weights": backbone_weights, "inception": inception, "lpips": lpips},
        keep_identifiers=keep_identifiers,
        threads=threads,
    )
    if translating:
        from a2bgan.cli.benchmark_translation import benchmark_translation

        if benchmark_translation(trainings, facts, out, data, network, lpips, command):
            raise typer.Exit(1)
        return
    rows = _detectors(trainings, facts, out, data, jobs, threads)
    baseline = trivial_row(manifest, reading)
    made = make_table(rows if baseline is None else [*rows, baseline])
    _print_table(made)
    for path in write_tables(out, made, command):
        say_written(path)
    if any(row.failure for row in rows):
        raise typer.Exit(1)


def _require_test_images(manifest: "Manifest", data: str, task: Task) -> None:
    """Raise InputError where the test set has nothing to compare methods on."""
    labels = {row.label for row in manifest.split("test")}
    if task is Task.TRANSLATION and labels <= {0}:
        raise InputError(f"{data}: a benchmark of translators needs test images to translate")
    if task is Task.DETECTION and not labels >= {0, 1}:
        raise InputError(f"{data}: a benchmark needs test images with label 0 and with label 1")


def _settings(
    facts: "Facts",
    given: list[str],
    task: Task,
    minutes: float | None,
    random_features: bool,
    backbone_weights: Path | None,
) -> list[str]:
    """What is set for every training of a method."""
    # The last checkpoint of each: translators have their own ways to select, or none.
    settings = [*(["selection.by=last"] if task is Task.TRANSLATION else []), *given]
    if minutes is not None:
        settings.append(f"train.minutes={minutes:g}")
    if facts.pretrained and random_features:
        settings.append("method.random_features=true")
    if facts.pretrained and backbone_weights is not None:
        settings.append(f"method.backbone_weights={backbone_weights.resolve()}")
    return settings


def _detectors(
    trainings: "Mapping[tuple[str, int], Training]",
    facts: "Mapping[str, Facts]",
    out: Path,
    data: str,
    jobs: int,
    threads: str,
) -> "list[MethodRow]":
    """Train and evaluate what is left to do, so many at a time; says what came of each method."""
    from a2bgan.report.benchmark_table import MethodRow

    rows = []
    with Children(threads) as children, ThreadPoolExecutor(jobs) as pool:
        pending = {key: pool.submit(t.result, children) for key, t in trainings.items()}
        try:
            for name in facts:
                found = [future.result() for (of, _), future in pending.items() if of == name]
                failures = [f for f in found if isinstance(f, str)]
                repeats = [f for f in found if not isinstance(f, str)]
                failure = without_paths(failures[0], out, data) if failures else ""
                rows.append(MethodRow(name, facts[name], repeats, failure))
                said = failure or f"AUROC {rows[-1].auroc:.4f}"
                said = f"{facts[name].title} ({name}): {said}"
                errors.print(said, soft_wrap=True, markup=False, highlight=False)
        except BaseException:
            # Otherwise leaving the block would first do all that is left.
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    return rows


def _print_table(made: "BenchmarkTable") -> None:
    from rich.table import Table

    on_screen = [name for name in ON_SCREEN if name in made.head]
    table = Table(*on_screen, box=None)
    for line in made.cells:
        cells = dict(zip(made.head, line, strict=True))
        table.add_row(*(escape(cells[name]) for name in on_screen))
    output.print(table)


class Children:
    """Commands in processes of their own, whose memory can be told; ended with this one.

    threads: their OMP_NUM_THREADS; "" for this process's own.
    """

    def __init__(self, threads: str = "") -> None:
        self.environment = dict(os.environ)
        if threads:
            self.environment["OMP_NUM_THREADS"] = threads
        self._running: set[subprocess.Popen[str]] = set()
        self._ended = False

    def __enter__(self) -> "Children":
        def leave(number: int, frame: FrameType | None) -> None:
            raise KeyboardInterrupt

        self._before = signal.signal(signal.SIGTERM, leave)
        return self

    def __exit__(self, *exception: object) -> None:
        signal.signal(signal.SIGTERM, self._before)

    def end(self) -> None:
        """Have running commands write their checkpoints and stop; start no others."""
        self._ended = True
        for process in list(self._running):
            process.terminate()

    def run(self, *arguments: object) -> str:
        """Run `a2bgan` with these arguments; the reason if that fails."""
        if self._ended:
            return "not started"
        process = subprocess.Popen(
            [sys.executable, "-m", "a2bgan.cli.app", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )
        self._running.add(process)
        try:
            _, said = process.communicate()
        finally:
            self._running.discard(process)
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return f"killed by {name}{' (out of memory?)' if name == 'SIGKILL' else ''}"
        if process.returncode:
            reasons = [line for line in said.splitlines() if line.startswith("error:")]
            last = (said.strip().splitlines() or [f"exit code {process.returncode}"])[-1]
            return (reasons[-1].removeprefix("error:") if reasons else last).strip()
        return ""


@dataclass(frozen=True)
class Training:
    """One training of a preset, and what it does on the test images."""

    run: "RunFolder"
    opening: list[str]
    manifest: "Manifest"
    preset: str
    settings: list[str]

    def refuse_other_run(self) -> None:
        """Raise InputError where a run with other settings or of other images is."""
        from a2bgan.training.config import load_config

        config = load_config(self.preset, None, self.settings)
        if self.run.config_file.exists() and (
            self.run.config() != config or self.run.manifest_sha256() != self.manifest.sha256
        ):
            raise InputError(
                f"{self.run.path}: a run with other settings or images; choose another --out"
            )

    def train(self, children: Children) -> str:
        """Train, or go on; the reason if that fails."""
        options: list[object] = ["--out", self.run.path, *self.opening]
        if self.run.config_file.exists():
            options.append("--resume")
        else:
            options += ["--preset", self.preset]
            options += [part for setting in self.settings for part in ("--set", setting)]
        return children.run("train", *options)

    def result(self, children: Children) -> "Repeat | str":
        """Do what is left to do; the reason if that fails."""
        from a2bgan.detection.evaluate import read_scores
        from a2bgan.report.benchmark_table import Repeat

        # Not metrics.json, which `a2bgan evaluate` writes with whatever score it is given.
        metrics = self.run.path / "benchmark.json"
        scores = metrics.with_name("benchmark-scores.csv")
        if not (scores.exists() and self._is_current(metrics)):
            if failure := self.train(children):
                return failure
            failure = children.run("evaluate", self.run.path, *self.opening, "--out", metrics)
            # It ends with 1 too where images were left out of a result that is there.
            if failure and not (scores.exists() and self._is_current(metrics)):
                return failure
        resources = json.loads(self.run.resources_file.read_text())
        return Repeat(json.loads(metrics.read_text()), resources, *read_scores(scores))

    def _is_current(self, metrics: Path) -> bool:
        """Whether these measures are of what the run stands for now, on these images."""
        from a2bgan.detection.trained import read_pick

        if not metrics.exists():
            return False
        names = ("manifest_sha256", "checkpoint", "weights", "score", "selected_by")
        try:
            known = json.loads(metrics.read_text())
            sha256, *measured = (known[name] for name in names)
        except (ValueError, KeyError, TypeError):  # damaged, or cut off where a process was killed
            return False
        pick = read_pick(self.run)
        if sha256 != self.manifest.sha256:
            return False
        if pick is None:
            return bool(known["selected_by"] == "last")
        return measured == [pick.checkpoint, pick.version, pick.score, pick.rule]


def without_paths(text: str, out: Path, data: str) -> str:
    """Tables are shared; where things lie on this machine is nobody's business."""
    for place in (out, Path(data).parent):
        for form in (str(place.resolve()), str(place)):
            if form not in (".", "/"):
                text = text.replace(f"{form}/", "")
    return text


def _command(
    task: Task,
    data: str,
    methods: str,
    *,
    seeds: int,
    minutes: float | None,
    settings: list[str],
    jobs: int,
    where: str | None,
    random_features: bool,
    files: "Mapping[str, Path | None]",
    keep_identifiers: bool,
    threads: str,
) -> str:
    """The command as it was given, without where data and results lie, and the threads that each
    training had, "" for what there were: a training by the clock depends on them."""
    parts = [f"OMP_NUM_THREADS={threads}"] if threads else []
    parts.append("a2bgan benchmark")
    if task is not Task.DETECTION:
        parts.append(f"--task {task}")
    shown = data if data == "phantom" else Path(data).resolve().name
    parts.append(f"--data {shown} --methods {methods} --seeds {seeds} --out DIR")
    if minutes is not None:
        parts.append(f"--minutes {minutes:g}")
    for setting in settings:
        key, _, value = setting.partition("=")
        parts.append(f"--set {key}={Path(value).name if '/' in value else value}")
    if jobs > 1:
        parts.append(f"--jobs {jobs}")
    if where:
        parts.append(f"--where '{where}'")
    if random_features:
        parts.append("--random-features")
    parts += [f"--{option} FILE" for option, file in files.items() if file is not None]
    if keep_identifiers:
        parts.append("--keep-identifiers")
    return " ".join(parts)
