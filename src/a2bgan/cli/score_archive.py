"""`a2bgan score-archive`."""

from pathlib import Path
from typing import Annotated

import typer

from a2bgan.cli.console import list_failures, note, say, say_written, stderr, warn
from a2bgan.cli.data_options import KeepIdentifiersOption
from a2bgan.cli.predict import usable
from a2bgan.cli.run_options import (
    CheckpointOption,
    HalfOption,
    ModelArgument,
    RateOption,
    RuntimeOption,
    ScoreOption,
)
from a2bgan.detection import RATE
from a2bgan.errors import name_some


def score_archive(
    run: ModelArgument,
    source: Annotated[
        str,
        typer.Argument(
            metavar="LIST",
            help="List (.csv, .parquet) with the column path and, where known, patient_id; a "
            "folder; or a pattern in quotes, such as 'archive/**/*.png' or 'lists/*.parquet'.",
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder to write, or to go on with.", show_default=False)
    ],
    score: ScoreOption = None,
    checkpoint: CheckpointOption = "selected",
    fpr: RateOption = RATE,
    runtime: RuntimeOption = None,
    half: HalfOption = False,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes with a model each.", show_default="as many as fit"),
    ] = None,
    cores: Annotated[
        int | None, typer.Option(min=1, help="Processor cores of each worker.", show_default="4")
    ] = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Score very many images with Ray, on this machine or a cluster, and go on after a stop."""
    from rich.progress import Progress

    from a2bgan.detection.open_model import open_model
    from a2bgan.report.archive import finish, open_archive
    from a2bgan.report.archive_workers import Opening, score_parts

    chosen = None if runtime is None else runtime.value
    model, calibration = open_model(run, checkpoint, score, chosen, half)
    calibration = usable(
        calibration, model.pick, fpr, own=checkpoint == "selected" and score is None
    )
    archive = open_archive(source, out.absolute(), model, keep_identifiers=keep_identifiers)
    del model
    opening = Opening(run.absolute(), checkpoint, score, chosen, half)
    missing = len(archive.missing())
    if missing < archive.count:
        note(f"{archive.count - missing} of {archive.count} parts are there")
    with Progress(console=stderr) as bar:
        task = bar.add_task("scoring", total=min(archive.images, missing * archive.part_size))
        for images in score_parts(archive, opening, cores, workers):
            bar.update(task, advance=images)
    result = finish(archive, calibration, fpr)
    say_written(out / "scores", f"{result.scored} images scored")
    if calibration is not None:
        say(f"{result.flagged} of {result.patients} {result.counted_as} flagged (p <= {fpr:g})")
    if result.unfamiliar:
        warn(
            f"{result.unfamiliar} of {result.scored} look like none of the images that the model "
            f"learned from, so that their scores mean nothing: {name_some(result.strange[:3])} "
            "(unfamiliar in the table; so does 1 in 100 ordinary images)"
        )
    for sentence in result.drift:
        warn(f"{sentence}; the threshold may not hold")
    list_failures(result.failures, "could not be scored", count=result.failed)
    if result.again:
        note(
            f"{result.again} of them for a reason that may pass (missing, no memory, a failing "
            "disk); the same command tries them again"
        )
