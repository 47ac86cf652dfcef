"""`a2bgan train`."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import errors, list_failures, output
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from a2bgan.data.manifest import Manifest
    from a2bgan.data.preprocessing import DataConfig
    from a2bgan.training.config import Config
    from a2bgan.training.loop import Report
    from a2bgan.training.run_folder import RunFolder


def train(
    out: Annotated[Path, typer.Option(help="Run folder to make.", show_default=False)],
    data: Annotated[
        str | None,
        typer.Option(
            help="Manifest (.csv), a folder with healthy/ and mixed/, or 'phantom'. "
            "With --resume, by default, what the run began with."
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help="Settings to start from: fast, paper, paper-simulated, xray, demo.")
    ] = "fast",
    config: Annotated[
        Path | None, typer.Option(help="YAML file with settings that change the preset's.")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="key=value, such as data.size=128; may be repeated."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped run.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run there.")] = False,
) -> None:
    """Learn what healthy looks like from a healthy and a mixed set."""
    run, settings, manifest = _open_run(out, data, preset, config, set_ or [], resume, overwrite)

    from a2bgan.training.loop import train as train_loop

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # set to INFO by its import
    healthy, mixed = (_load(manifest, split, settings.data) for split in ("healthy", "mixed"))
    output.print(f"{len(healthy)} healthy and {len(mixed)} mixed images -> {run.path}")
    with _progress(settings) as watch:
        outcome = train_loop(settings, healthy, mixed, run, resume=resume, watch=watch)
    steps, minutes = outcome.position.step, outcome.position.seconds / 60
    if outcome.interrupted:
        errors.print(f"stopped after {steps} steps; go on with: a2bgan train --out {out} --resume")
        raise typer.Exit(130)
    output.print(f"{steps} steps in {minutes:.1f} minutes; next: a2bgan evaluate {out}")


def _open_run(
    out: Path,
    data: str | None,
    preset: str,
    config: Path | None,
    settings: list[str],
    resume: bool,
    overwrite: bool,
) -> "tuple[RunFolder, Config, Manifest]":
    from a2bgan.data.manifest import open_data, require_training_sets
    from a2bgan.training.config import load_config
    from a2bgan.training.run_folder import RunFolder

    if resume:
        if settings or config is not None or overwrite:
            raise InputError(
                "--resume keeps the run's settings: leave out --set, --config and "
                "--overwrite, or start a new run"
            )
        run = RunFolder.open(out)
        manifest = run.manifest() if data is None else open_data(data)
        if manifest.sha256 != run.manifest_sha256():
            raise InputError(f"{data}: not the manifest that {out} was trained on")
        require_training_sets(manifest)
        return run, run.config(), manifest
    if data is None:
        raise InputError("--data is missing: a manifest, a folder, or 'phantom'")
    resolved = load_config(preset, config, settings)
    RunFolder.refuse_occupied(out, overwrite=overwrite)
    manifest = open_data(data)
    require_training_sets(manifest)
    run = RunFolder.create(out, resolved, overwrite=overwrite)
    run.keep_manifest(manifest)
    return run, resolved, manifest


def _load(manifest: "Manifest", split: str, config: "DataConfig") -> "np.ndarray":
    """The images of a split; labels stay behind."""
    from a2bgan.data.cache import load_images

    rows = manifest.split(split)
    loaded = load_images([row.path for row in rows], [row.name for row in rows], config)
    list_failures([(f.name, f.reason) for f in loaded.failures], f"left out of the {split} set")
    if not len(loaded.images):
        raise InputError(f"{split} set: none of its {len(rows)} images can be read")
    return loaded.images


@contextmanager
def _progress(config: "Config") -> "Iterator[Callable[[Report], None]]":
    """A bar with steps/s, what is left, and the losses; warnings in words above it.

    Where there is no terminal, a line for every tenth of the training instead.
    """
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        BarColumn(),
        TextColumn("{task.percentage:>3.0f}%"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[numbers]}"),
    )
    said = set[str]()
    tenths = 0
    with Progress(*columns, console=errors, disable=not errors.is_terminal) as bar:
        task = bar.add_task("", total=1.0, numbers="")

        def watch(report: "Report") -> None:
            nonlocal tenths
            losses = {
                "D": report.averages.get("d_adversarial"),
                "G": report.averages.get("g_adversarial"),
                "id": report.averages.get("g_identity"),
                "mask": report.averages.get("mask_mean"),
            }
            shown = " ".join(f"{k} {v:.3f}" for k, v in losses.items() if v is not None)
            numbers = f"{report.steps_per_second:.1f} it/s  step {report.step}  {shown}"
            bar.update(task, completed=report.fraction, numbers=numbers)
            if not errors.is_terminal and int(10 * report.fraction) > tenths:
                tenths = int(10 * report.fraction)
                errors.print(f"{min(report.fraction, 1):4.0%}  {numbers}", soft_wrap=True)
            if report.warning is not None and report.warning.split("(")[0] not in said:
                said.add(report.warning.split("(")[0])
                errors.print(f"[yellow]warning:[/] {report.warning}", soft_wrap=True)

        yield watch
