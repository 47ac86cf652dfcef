"""`a2bgan train`."""

import logging
import os
import shlex
import time
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import list_failures, note, say, say_next, stderr, warn, with_options
from a2bgan.cli.data_options import (
    AllowLeaksOption,
    KeepIdentifiersOption,
    WhereOption,
    open_chosen,
    report_leaks,
)
from a2bgan.cli.run_options import say_next_report
from a2bgan.cli.select import say_decision, say_thresholds
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from a2bgan.data.manifest import Manifest
    from a2bgan.detection.image_sets import ImageSet, RunImages
    from a2bgan.training.config import Config, TrainConfig
    from a2bgan.training.run_folder import RunFolder

WAIT_SECONDS = 600
"""Longest wait of a process for the leading one to read the manifest and make the run folder."""

NUMBERS = ("RANK", "SLURM_PROCID", "NODE_RANK", "LOCAL_RANK")
"""Environment variables that number processes that train together."""


@dataclass(frozen=True)
class Given:
    """Options that a run is made from; to resume a run, where its data are now."""

    data: str | None
    preset: str
    config: Path | None
    settings: list[str]
    where: str | None
    keep_identifiers: bool
    allow_leaks: bool

    def resolved(self) -> "Config":
        """Make the whole configuration of a new run. Raises InputError."""
        from a2bgan.training.config import load_config

        return load_config(self.preset, self.config, self.settings)


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
        str,
        typer.Option(help="Settings to start from: a name of `a2bgan methods`, or a .yaml file."),
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
    seeds: Annotated[
        int, typer.Option(min=1, help="Repeated runs, to OUT/seed-0, OUT/seed-1 and so on.")
    ] = 1,
    profile: Annotated[
        bool,
        typer.Option(
            "--profile", help="Show where the time of steps goes; OUT/profile/trace.json."
        ),
    ] = False,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
    allow_leaks: AllowLeaksOption = False,
) -> None:
    """Learn what healthy looks like; select a checkpoint and set a threshold, without labels."""
    from a2bgan.training.run_folder import RunFolder

    logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # set to INFO by its import
    given = Given(data, preset, config, set_ or [], where, keep_identifiers, allow_leaks)
    if seeds > 1 and not _alone(given.resolved().train):
        raise InputError("--seeds is for one process: repeat the command with --set train.seed")
    if profile:
        _refuse_profile(RunFolder.open_all(out)[0].config() if resume else given.resolved())
    if seeds == 1:
        run = _open_run(out, given, resume=resume, overwrite=overwrite)
        _train(run, resume, profile)
    else:
        if RunFolder(out).config_file.exists():
            raise InputError(f"{out}: a run is there; choose another --out for repeated runs")
        for seed in range(seeds):
            run = _open_repeated_run(out, seed, given, resume=resume, overwrite=overwrite)
            _train(run, resume, profile)
    if _leads():
        _say_next(out)


def _say_next(out: Path) -> None:
    from a2bgan.training.run_folder import RunFolder

    tested = any(
        row.label is not None for row in RunFolder.open_all(out)[0].manifest().split("test")
    )
    if tested:
        say_next("evaluate", out)
    else:
        say_next_report(out)


def _refuse_profile(config: "Config") -> None:
    """Raise InputError for a method whose training has no steps."""
    from a2bgan.training.methods import METHODS
    from a2bgan.training.methods.method import PassMethod

    if issubclass(METHODS[config.method.name], PassMethod):
        raise InputError(
            f"{config.facts.title} looks at every image once and takes no steps to profile: leave "
            "out --profile"
        )


def _leads() -> bool:
    """True in the process that prints and decides for all that train together.

    Lightning Fabric starts the others with the same command line and a LOCAL_RANK; torchrun starts
    all of them, with a RANK, SLURM with a SLURM_PROCID.
    """
    return all(int(os.environ.get(name) or 0) == 0 for name in NUMBERS)


def _alone(settings: "TrainConfig") -> bool:
    """True where the settings ask for one process on one machine."""
    return settings.nodes == 1 and settings.devices in (1, "1")


def _refuse_overwrite_among_many(out: Path) -> None:
    """Raise InputError where others, started at the same time, may open what is to be replaced."""
    many = int(os.environ.get("SLURM_NTASKS") or 1)
    if "RANK" in os.environ:
        many = int(os.environ.get("WORLD_SIZE") or 1)
    if many > 1:
        raise InputError(f"--overwrite is for one process or one command: remove {out} first")


def _join_run(path: Path, images: str | None) -> "RunFolder":
    """Wait for the run that the leading process makes, and open it.

    images: the folder its paths are relative to, where that may have changed.
    """
    from a2bgan.training.run_folder import RunFolder

    run = RunFolder(path)
    for _ in range(WAIT_SECONDS):
        if run.holdout_file.exists() and images in (None, run.noted_image_root()):
            break
        time.sleep(1)
    return RunFolder.open(path)


def _train(run: "RunFolder", resume: bool, profile: bool) -> None:
    """Train one run, select and calibrate, while no other process may change it."""
    from a2bgan.training.run_lock import run_lock

    with run_lock(run.path, "train") if _leads() else nullcontext():
        _train_locked(run, resume, profile)


def _train_locked(run: "RunFolder", resume: bool, profile: bool) -> None:
    from a2bgan.detection.decisions.fitting import finish_run, patience_warning, train_run
    from a2bgan.detection.image_sets import RunImages
    from a2bgan.training.loop import wastes_bfloat16
    from a2bgan.training.progress import show_progress
    from a2bgan.training.step_profile import StepProfile

    config, images = run.config(), RunImages.of_run(run)
    _report_images(run, images)
    if _leads() and (sentence := patience_warning(config, images)):
        warn(sentence)
    if _leads() and not resume and wastes_bfloat16(config.train):
        note("float32, as the settings say; here --set train.precision=auto is faster (bfloat16)")
    profiling = StepProfile(run.profile) if profile and _leads() else nullcontext()
    # Only the leading process's loop reports.
    bar = stderr.is_terminal and _leads()
    with (
        profiling as profiled,
        show_progress(config, stderr, bar=bar, worded=with_options) as watch,
    ):
        outcome = train_run(run, images, resume=resume, watch=watch, profile=profiled)
    if not _leads():
        return
    if profiled is not None:
        say(profiled.table or "nothing profiled: it takes six steps after the warm-up")
    steps, minutes = outcome.position.step, outcome.position.seconds / 60
    if outcome.interrupted:
        command = shlex.join(["a2bgan", "train", "--out", str(run.path), "--resume"])
        note(f"stopped after {steps} steps; go on with: {command}")
        raise typer.Exit(130)
    say(f"{steps} step{'s' * (steps != 1)} in {minutes:.1f} minutes")
    if outcome.method.learned is not None:
        say(outcome.method.learned)
    fit = finish_run(run, images, outcome)
    if fit.decision is not None:
        say_decision(fit.decision)
    if fit.calibration is not None:
        say_thresholds(fit.calibration, fit.trained.makes_map)
    for sentence in fit.warnings:
        warn(sentence)


def _report_images(run: "RunFolder", images: "RunImages") -> None:
    """Say how many images there are; raise InputError where a set has none that can be read."""
    healthy, mixed = images.part("healthy", "training"), images.part("mixed", "training")
    held_b, held_a = images.both("selection")
    calibration = images.part("healthy", "calibration")
    for split, parts in {
        "healthy": (healthy, held_b, calibration), "mixed": (mixed, held_a)
    }.items():  # fmt: skip
        failures = [failure for part in parts for failure in part.failures]
        if _leads():
            list_failures(failures, f"left out of the {split} set")
        if not len(parts[0]):
            raise InputError(f"{split} set: none of its {len(failures)} images can be read")
    if _leads():
        say(
            f"{len(healthy)} healthy and {len(mixed)} mixed images; held out: {len(held_b)} and "
            f"{len(held_a)} to select by, {_counted(calibration)} for the threshold -> {run.path}"
        )


def _counted(healthy: "ImageSet") -> str:
    """The number of healthy images, and of patients where that is another number."""
    patients = len(set(healthy.patients.tolist()))
    if patients == len(healthy):
        return f"{patients} healthy"
    kind = "slices" if healthy.slices else "images"
    return f"{len(healthy)} healthy {kind} of {patients} patient{'s' * (patients != 1)}"


def _open_repeated_run(
    out: Path, seed: int, given: Given, *, resume: bool, overwrite: bool
) -> "RunFolder":
    """Open one of several runs that differ only in ``train.seed``: the first's, plus ``seed``."""
    from a2bgan.training.run_folder import RunFolder

    folder, first = (RunFolder.repeated(out, number) for number in (seed, 0))
    if resume and not RunFolder(folder).config_file.exists() and seed > 0:
        # The others ended before this one began.
        manifest = RunFolder.open(first).manifest()
        base = RunFolder.open(first).config()
        train = base.train.model_copy(update={"seed": base.train.seed + seed})
        leaks = RunFolder.open(first).manifest_leaks()
        return _create_run(folder, base.model_copy(update={"train": train}), manifest, leaks)
    if not resume:
        number = given.resolved().train.seed + seed
        given = replace(given, settings=[*given.settings, f"train.seed={number}"])
    return _open_run(folder, given, resume=resume, overwrite=overwrite)


def _open_run(out: Path, given: Given, *, resume: bool, overwrite: bool) -> "RunFolder":
    from a2bgan.data.image_size import settled_for
    from a2bgan.data.leaks import leaks_within
    from a2bgan.data.manifest import require_training_sets
    from a2bgan.data.open_data import open_data
    from a2bgan.training.loop import refuse_impossible
    from a2bgan.training.run_folder import RunFolder

    data = given.data
    if overwrite:
        _refuse_overwrite_among_many(out)
    if not _leads():
        moved = resume and data is not None
        return _join_run(out, str(open_data(str(data)).root.resolve()) if moved else None)
    if resume:
        if given.settings or given.config is not None or overwrite:
            raise InputError(
                "--resume keeps the run's settings: leave out --set, --config and "
                "--overwrite, or start a new run"
            )
        run = RunFolder.open(out)
        if data is None:
            return run
        where = given.where or run.manifest_where()
        manifest = open_chosen(data, run.config().data, where, given.keep_identifiers)
        if manifest.sha256 != run.manifest_sha256():
            raise InputError(
                f"{data}: not the manifest that {out} was trained on, or another key of "
                "pseudonyms or another choice of --keep-identifiers"
            )
        run.keep_manifest(manifest, run.manifest_leaks())  # it may have moved
        return run
    if data is None:
        raise InputError("--data is missing: a manifest, a folder, or 'phantom'")
    config = given.resolved()
    RunFolder.refuse_occupied(out, overwrite=overwrite)
    refuse_impossible(config)  # before images are prepared, and an old run is deleted
    manifest = open_chosen(data, config.data, given.where, given.keep_identifiers)
    require_training_sets(manifest)
    settled = settled_for(config.data, manifest)
    if config.data.size_by_images:
        say(
            f"trained at {settled.size} x {settled.size} pixels, by the size of the images; "
            "--set data.size=N for another"
        )
    config = config.model_copy(update={"data": settled})
    leaks = leaks_within(manifest)
    report_leaks(leaks, allowed=given.allow_leaks)
    return _create_run(out, config, manifest, leaks, overwrite=overwrite)


def _create_run(
    out: Path,
    config: "Config",
    manifest: "Manifest",
    leaks: "Sequence[str]",
    *,
    overwrite: bool = False,
) -> "RunFolder":
    from a2bgan.data.holdout import hold_out
    from a2bgan.training.run_folder import RunFolder

    holdout = hold_out(manifest, config.holdout)  # takes a while; a run is there with it or not

    def fill(run: "RunFolder") -> None:
        run.keep_manifest(manifest, leaks)
        holdout.write(run.holdout_file)

    return RunFolder.create(out, config, overwrite=overwrite, fill=fill)
