"""`a2bgan benchmark` and `a2bgan methods`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import note, say, say_written, stdout, warn
from a2bgan.cli.data_options import (
    AllowLeaksOption,
    KeepIdentifiersOption,
    WhereOption,
    open_chosen,
    report_leaks,
)
from a2bgan.cli.run_options import FidResizeOption, InceptionOption, feature_network
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from a2bgan.data.manifest import Manifest

ON_SCREEN = (
    "method",
    "# gen.",
    "# disc.",
    "FID",
    "KID",
    "PSNR inside",
    "PSNR outside",
    "AUROC (95 %)",
    "matched AUROC (95 %)",
    "hit rate",
    "position-matched AUROC",
    "p against A2B-GAN",
    "note",
)
"""Columns that fit a terminal, where they are there; the files have all."""


class Task(StrEnum):
    """The task that methods are compared in."""

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
    for name in METHODS:
        try:
            f = METHODS[name].facts
        except InputError as error:  # of another package
            warn(str(error))
            continue
        task = "both" if len(f.tasks) > 1 else f.tasks[0]
        needs = "B and A" if f.uses_mixed else "B, weights" if f.pretrained else "B"
        gives = ", ".join(["map"] * f.makes_map + ["twin"] * f.makes_twin) or "score"
        table.add_row(name, f.title, task, needs, gives, f.paper)
    stdout.print(table)
    say(
        "B: healthy images; A: mixed ones; weights: of a backbone trained on other images.\n"
        "Each but probe also as PRESET-paper, with its paper's settings; A2B-GAN's is `paper`, "
        "and that of its released code `healthygan`."
    )
    ours = [name for name in preset_names() if load_config(name).method.name == "a2bgan"]
    say(f"Presets of A2B-GAN: {', '.join(ours)}.")


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
    fid_resize: FidResizeOption = None,
    lpips: Annotated[
        Path | None, typer.Option(help="translation: torchvision's AlexNet weights, for LPIPS.")
    ] = None,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
    allow_leaks: AllowLeaksOption = False,
) -> None:
    """Train and score many methods on the same images; one table. Goes on where it was stopped."""
    from a2bgan.benchmark.runs import (
        Benchmark,
        plan_trainings,
        shown_command,
        threads_of_each,
        time_needed,
    )
    from a2bgan.data.image_size import settled_for
    from a2bgan.data.leaks import leaks_within
    from a2bgan.data.manifest import require_training_sets
    from a2bgan.training.config import load_config, preset_names
    from a2bgan.training.methods import METHODS

    if task is Task.TRANSLATION:
        from a2bgan.benchmark.translation import compare_translators
    else:
        from a2bgan.benchmark.detection import compare_detectors

    presets = set(preset_names())
    made_for = [n for n in METHODS if n in presets and task in METHODS[n].facts.tasks]
    names = made_for if methods == "all" else list(dict.fromkeys(methods.split(",")))
    settings = set_ or []
    # One choice of slices of volumes serves all methods, and the row that needs no training is
    # preprocessed as the first of them.
    config = load_config(names[0], None, settings).data
    manifest = open_chosen(data, config, where, keep_identifiers)
    config = settled_for(config, manifest)
    require_training_sets(manifest)
    _require_test_images(manifest, data, task)
    report_leaks(leaks_within(manifest), allowed=allow_leaks)
    network = feature_network(inception, fid_resize) if task is Task.TRANSLATION else None
    flags = ["--keep-identifiers"] * keep_identifiers + ["--allow-leaks"] * allow_leaks
    trainings = plan_trainings(
        names,
        seeds,
        out / "runs",
        manifest,
        ["--data", data, *(["--where", where] if where else []), *flags],
        settings,
        task.value,
        minutes=minutes,
        backbone_weights=backbone_weights,
    )
    note(time_needed(list(trainings.values()), jobs if network is None else 1))
    # Translators are trained one after the other.
    threads = threads_of_each(jobs if network is None else 1)
    command = shown_command(
        task.value,
        data,
        methods,
        seeds=seeds,
        minutes=minutes,
        settings=settings,
        jobs=jobs,
        where=where,
        files={"backbone-weights": backbone_weights, "inception": inception, "lpips": lpips},
        flags=flags + (["--fid-resize", fid_resize.value] if fid_resize else []),
        threads=threads,
    )
    facts = {name: load_config(name).facts for name in names}
    compared = Benchmark(out, data, command, facts, trainings)
    if network is None:
        found = compare_detectors(
            compared, manifest, config, jobs=jobs, threads=threads, report=note
        )
    else:
        found = compare_translators(compared, network, lpips, note)
    _print_columns(found.head, found.cells)
    for path in found.files:
        say_written(path)
    if found.trouble:
        note(found.trouble)
    if found.failed:
        raise typer.Exit(1)


def _require_test_images(manifest: "Manifest", data: str, task: Task) -> None:
    """Raise InputError where the test set has nothing to compare methods on."""
    labels = {row.label for row in manifest.split("test")}
    if task is Task.TRANSLATION and labels <= {0}:
        raise InputError(f"{data}: a benchmark of translators needs test images to translate")
    if task is Task.DETECTION and not labels >= {0, 1}:
        raise InputError(f"{data}: a benchmark needs test images with label 0 and with label 1")


def _print_columns(head: "Sequence[str]", cells: "Sequence[Sequence[str]]") -> None:
    from rich.table import Table

    on_screen = [column for column in ON_SCREEN if column in head]
    table = Table(*on_screen, box=None)
    for line in cells:
        of = dict(zip(head, line, strict=True))
        table.add_row(*(escape(of[column]) for column in on_screen))
    stdout.print(table)
