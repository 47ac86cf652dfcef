"""`a2bgan benchmark` and `a2bgan methods`."""

import os
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.benchmark_detection import benchmark_detection
from a2bgan.cli.benchmark_training import Training
from a2bgan.cli.benchmark_translation import benchmark_translation
from a2bgan.cli.console import output
from a2bgan.cli.data_options import (
    AllowLeaksOption,
    KeepIdentifiersOption,
    WhereOption,
    open_chosen,
    say_leaks,
)
from a2bgan.cli.feature_network import InceptionOption, feature_network
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from a2bgan.data.manifest import Manifest
    from a2bgan.training.config import Config


class Task(StrEnum):
    """What methods are compared in."""

    DETECTION = "detection"
    TRANSLATION = "translation"


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
    backbone_weights: Annotated[
        Path | None,
        typer.Option(
            help="Weights of the backbones that this machine has none of, such as a -paper "
            "preset's ResNet."
        ),
    ] = None,
    inception: InceptionOption = None,
    lpips: Annotated[
        Path | None, typer.Option(help="translation: torchvision's AlexNet weights, for LPIPS.")
    ] = None,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
    allow_leaks: AllowLeaksOption = False,
) -> None:
    """Train and score many methods on the same images; one table. Goes on where it was stopped."""
    from a2bgan.data.image_size import settled_for
    from a2bgan.data.leaks import leaks_within
    from a2bgan.data.manifest import require_training_sets
    from a2bgan.training.config import load_config
    from a2bgan.training.methods import METHODS
    from a2bgan.training.run_folder import RunFolder

    made_for = [name for name, method in METHODS.items() if task in method.facts.tasks]
    names = made_for if methods == "all" else list(dict.fromkeys(methods.split(",")))
    settings = set_ or []
    # Which slices of volumes are looked at is one choice for all methods, and the row that needs no
    # training sees what the first of them does.
    reading = load_config(names[0], None, settings).data
    manifest = open_chosen(data, reading, where, keep_identifiers)
    reading = settled_for(reading, manifest)
    require_training_sets(manifest)
    _require_test_images(manifest, data, task)
    say_leaks(leaks_within(manifest), allowed=allow_leaks)
    translating = task is Task.TRANSLATION
    if translating:
        network = feature_network(inception)
    facts = {name: load_config(name).facts for name in names}
    opening = ["--data", data]
    opening += ["--where", where] if where else []
    flags = ["--keep-identifiers"] * keep_identifiers + ["--allow-leaks"] * allow_leaks
    opening += flags
    trainings = {}
    for name in names:
        own = _settings(
            load_config(name, None, settings), settings, task, minutes, backbone_weights
        )
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
        files={"backbone-weights": backbone_weights, "inception": inception, "lpips": lpips},
        flags=flags,
        threads=threads,
    )
    if translating:
        failed = benchmark_translation(trainings, facts, out, data, network, lpips, command)
    else:
        failed = benchmark_detection(
            trainings, facts, out, data, manifest, reading, command, jobs=jobs, threads=threads
        )
    if failed:
        raise typer.Exit(1)


def _require_test_images(manifest: "Manifest", data: str, task: Task) -> None:
    """Raise InputError where the test set has nothing to compare methods on."""
    labels = {row.label for row in manifest.split("test")}
    if task is Task.TRANSLATION and labels <= {0}:
        raise InputError(f"{data}: a benchmark of translators needs test images to translate")
    if task is Task.DETECTION and not labels >= {0, 1}:
        raise InputError(f"{data}: a benchmark needs test images with label 0 and with label 1")


def _settings(
    config: "Config",
    given: list[str],
    task: Task,
    minutes: float | None,
    backbone_weights: Path | None,
) -> list[str]:
    """What is set for every training of a method."""
    from a2bgan.models.pretrained import has_pretrained

    # The last checkpoint of each: translators have their own ways to select, or none.
    settings = [*(["selection.by=last"] if task is Task.TRANSLATION else []), *given]
    if minutes is not None:
        settings.append(f"train.minutes={minutes:g}")
    backbone = getattr(config.method, "backbone", None)
    if backbone_weights is not None and backbone and not has_pretrained(backbone):
        settings.append(f"method.backbone_weights={backbone_weights.resolve()}")
    return settings


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
    files: "Mapping[str, Path | None]",
    flags: "Sequence[str]",
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
    parts += [f"--{option} FILE" for option, file in files.items() if file is not None]
    return " ".join([*parts, *flags])
