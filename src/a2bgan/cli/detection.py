"""`a2bgan evaluate`, `a2bgan predict` and `a2bgan figure`."""

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from a2bgan.cli.console import errors, list_failures, output, say_written
from a2bgan.cli.data_options import (
    AllowLeaksOption,
    KeepIdentifiersOption,
    WhereOption,
    own_or_chosen,
    require_sources,
    say_kept,
    say_leaks,
)
from a2bgan.cli.out_file import require_place
from a2bgan.cli.run_options import CheckpointOption, RunArgument, ScoreOption, SplitOption
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from a2bgan.detection.calibration import Calibration
    from a2bgan.detection.evaluate import Evaluation
    from a2bgan.detection.exported import Exported
    from a2bgan.detection.prediction import Prediction
    from a2bgan.detection.trained import Pick, Trained

DataOption = Annotated[
    str | None, typer.Option(help="Manifest, folder or 'phantom'; by default the run's own.")
]
VmaxOption = Annotated[
    float | None,
    typer.Option(
        help="Top of the map's scale in pictures.", show_default="0.3 of the range, for differences"
    ),
]

PART_SIZE = 1000


class Runtime(StrEnum):
    """What runs a network."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


def evaluate(
    run: RunArgument,
    data: DataOption = None,
    split: SplitOption = "test",
    score: ScoreOption = None,
    checkpoint: CheckpointOption = "selected",
    out: Annotated[
        Path | None,
        typer.Option(
            help="JSON file to write; of repeated runs, also one for each beside it.",
            show_default="RUN/metrics.json",
        ),
    ] = None,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
    allow_leaks: AllowLeaksOption = False,
) -> None:
    """Measure detection and localisation on labelled images; repeated runs one by one and all.
    What the measures are: docs/decisions.md"""
    from a2bgan.detection.calibration import usable_calibration
    from a2bgan.detection.doubts import read_doubts
    from a2bgan.detection.evaluate import evaluate as measure
    from a2bgan.detection.evaluate import summarise
    from a2bgan.detection.held_out import describe_learned
    from a2bgan.detection.position import position_warning
    from a2bgan.detection.trained import load_trained
    from a2bgan.detection.verdict import in_words, no_better_than_trivial
    from a2bgan.training.run_folder import RunFolder

    if out is not None:
        require_place(out)
    folders = RunFolder.open_all(run)
    found, failed, warned = [], False, []
    for folder in folders:
        manifest = own_or_chosen(folder, data, where, keep_identifiers)
        if data is None:
            say_leaks(folder.manifest_leaks(), allowed=True)
        else:
            leaks = describe_learned(folder, manifest.split(split), f"split {split} of {data}")
            say_leaks(leaks, allowed=allow_leaks)
        trained = load_trained(folder, checkpoint, score)
        calibration = usable_calibration(folder, trained.pick)
        result = measure(trained, manifest, split=split, calibration=calibration)
        list_failures([(f.name, f.reason) for f in result.failures], "left out of the evaluation")
        list_failures(
            [(f.name, f.reason) for f in result.mask_failures],
            "could not be read: left out of the pixel measures",
            "mask",
        )
        failed = failed or bool(result.failures or result.mask_failures)
        found.append(result)
        doubts = [position_warning(result.metrics), no_better_than_trivial(result.metrics)]
        doubtful = [f"this model is doubtful: {doubt}" for doubt in read_doubts(folder)]
        for warning in [*doubtful, *filter(None, doubts)]:
            warned.append(f"{folder.path.name}: {warning}" if len(folders) > 1 else warning)
        target = folder.path / "metrics.json" if out is None else out
        if out is not None and len(folders) > 1:
            target = out.with_name(f"{out.stem}-{folder.path.name}{out.suffix}")
        _write_metrics(result.metrics, target, result)
    metrics = found[0].metrics
    if len(found) > 1:
        metrics = summarise(found)
        _write_metrics(metrics, out if out is not None else run / "metrics.json")
    _print_metrics(metrics)
    if (sentence := in_words(metrics)) is not None:
        output.print(sentence, soft_wrap=True, highlight=False)
    for warning in warned:
        errors.print(f"[yellow]warning:[/] {escape(warning)}", soft_wrap=True)
    if failed:
        raise typer.Exit(1)


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder of `train`, or a file of `a2bgan export`."),
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(metavar="INPUT...", help="Images, volumes, folders, manifests."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    score: ScoreOption = None,
    checkpoint: CheckpointOption = "selected",
    pictures: Annotated[
        bool | None,
        typer.Option(
            "--pictures/--no-pictures",
            help="Write a picture of each image.",
            show_default="pictures, except in parts",
        ),
    ] = None,
    vmax: VmaxOption = None,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="Rate of healthy patients to be flagged.")
    ] = 0.05,
    dicom_out: Annotated[
        Path | None,
        typer.Option(help="New or empty folder for captures and maps of DICOM images."),
    ] = None,
    runtime: Annotated[
        Runtime | None,
        typer.Option(help="What runs the network; the others use RUN/model.onnx or RUN/model.xml."),
    ] = None,
    half: Annotated[
        bool,
        typer.Option(
            "--half",
            help="bfloat16: faster where hardware has it; scores shift a bit. Not with onnx.",
        ),
    ] = False,
    part_size: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Write Parquet parts of so many images, which a later call goes on with; "
            "1000 with RANK and WORLD_SIZE (torchrun), whose processes share the parts.",
        ),
    ] = None,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Score images, flag them by the calibrated threshold and outline where they differ."""
    from rich.progress import track

    from a2bgan.data.formats.kinds import is_volume
    from a2bgan.data.tag_filter import TagFilter
    from a2bgan.detection import predict as prediction
    from a2bgan.report.predictions import Written, write_predictions
    from a2bgan.report.scored_parts import Workers, score_in_parts
    from a2bgan.report.thresholds import say_no_contours

    workers = Workers.from_environment()
    in_parts = part_size is not None or workers.count > 1
    if in_parts and (pictures or dicom_out is not None):
        raise InputError("parts hold scores alone: leave out --pictures and --dicom-out")
    require_sources(inputs)
    chosen = TagFilter(where) if where else None
    workers.take_gpu()
    model, calibration = _open_model(run, checkpoint, score, runtime, half)
    found = prediction.find_inputs(
        inputs,
        keep_identifiers=keep_identifiers,
        series=model.data.series == "volume",
        results=[out] if dicom_out is None else [out, dicom_out],
    )
    if chosen is not None:
        found, sentence = chosen.keep(found, lambda item: item.path)
        say_kept(sentence)
    if in_parts and any(is_volume(item.path) for item in found):
        raise InputError("volumes are not scored in parts: leave out --part-size and torchrun")
    own = checkpoint == "selected" and score is None
    calibration = _usable(calibration, model.pick, fpr, own=own)
    outlining = model.makes_map and not in_parts
    if outlining and calibration is not None and (why := say_no_contours(calibration)):
        errors.print(f"[yellow]no contours:[/] {why}", soft_wrap=True)
    written: Written
    again = 0
    if in_parts:
        ended = score_in_parts(
            model, found, out, workers, part_size or PART_SIZE, calibration=calibration, rate=fpr
        )
        if ended is None:
            output.print("all parts are there; another process has written the table")
            return
        say_written(out / "scores.parquet", f"{ended.scored} images scored")
        written, again = ended, ended.again
    else:
        scale = model.map_scale if vmax is None else vmax
        pixel_threshold = None if calibration is None else calibration.pixel_threshold
        scored: Iterable[Prediction] = prediction.predict(model, found, pixel_threshold)
        results = None
        if dicom_out is not None:
            # highdicom takes a while
            from a2bgan.report.dicom_results import DicomObjects, DicomResults

            objects = DicomObjects(model.data, vmax=scale, keep_identifiers=keep_identifiers)
            results = DicomResults(dicom_out, objects)
            scored = results.passing(scored)
        written = write_predictions(
            track(scored, total=len(found), console=errors, description="scoring"),
            out,
            calibration=calibration,
            rate=fpr,
            pictures=pictures is not False,
            vmax=scale,
        )
        if results is not None:
            say_written(dicom_out, f"DICOM results of {results.written} images")
            list_failures(results.left_out, "without DICOM results")
        say_written(out / "scores.csv", f"{written.scored} images scored")
    if calibration is not None:
        output.print(
            f"{written.flagged} of {written.patients} {written.counted_as} flagged (p <= {fpr:g})",
            soft_wrap=True,
        )
    if written.outlined is not None:
        output.print(f"{written.outlined} of {written.scored} images with a contour")
    if written.unfamiliar:
        names = ", ".join(written.unfamiliar[:3]) + (", ..." if len(written.unfamiliar) > 3 else "")
        errors.print(
            f"[yellow]warning:[/] {len(written.unfamiliar)} of {written.scored} look like none of "
            f"the images that the model learned from, so that their scores mean nothing: "
            f"{escape(names)} (unfamiliar in the table; so does 1 in 100 ordinary images)",
            soft_wrap=True,
        )
    for sentence in written.drift:
        errors.print(f"[yellow]warning:[/] {sentence}; the threshold may not hold", soft_wrap=True)
    list_failures(written.failures, "could not be scored")
    if again:
        errors.print(
            f"{again} of them for a reason that may pass (missing, no memory, a failing disk); the "
            "same command tries them again",
            soft_wrap=True,
        )
    # In parts the table is whole; torchrun would take an error for a lost process.
    if written.failures and not in_parts:
        raise typer.Exit(1)


def _open_model(
    path: Path, checkpoint: str, score: str | None, runtime: Runtime | None, half: bool
) -> "tuple[Trained | Exported, Calibration | None]":
    """A run's method, or an exported one, and the calibration that belongs to it."""
    from dataclasses import replace

    from a2bgan.detection.calibration import read_calibration, same_scores
    from a2bgan.detection.exported import SUFFIXES, load_exported, runtime_of
    from a2bgan.detection.trained import load_trained, pick_of
    from a2bgan.training.run_folder import RunFolder

    of_file = None if path.is_dir() else runtime_of(path)
    if of_file is None and runtime in (None, Runtime.TORCH):
        folder = RunFolder.open(path)
        trained = replace(load_trained(folder, checkpoint, score), half=half)
        return trained, read_calibration(folder)
    if score is not None or checkpoint != "selected":
        raise InputError(
            "an exported file has its own score and checkpoint: leave out --score and --checkpoint"
        )
    if of_file is not None:
        if runtime not in (None, of_file):
            raise InputError(f"{path}: a file for {of_file}, not for {runtime}")
        exported = load_exported(path, half=half)
    else:
        assert runtime is not None
        folder = RunFolder.open(path)
        file = path / f"model{SUFFIXES[runtime.value]}"
        if not file.is_file():
            raise InputError(f"{file}: missing; `a2bgan export {path} --format {runtime}` makes it")
        exported = load_exported(file, half=half)
        if not same_scores(exported.pick, pick_of(folder)):
            raise InputError(
                f"{file}: of another checkpoint or score than the run's; "
                f"`a2bgan export {path} --format {runtime}` makes it anew"
            )
        return exported, read_calibration(folder)
    return exported, exported.calibration


def _usable(
    calibration: "Calibration | None", pick: "Pick", fpr: float, *, own: bool
) -> "Calibration | None":
    """The calibration where it holds for a pick; says why there is no threshold.

    own: the pick is what the run stands for, not one of --checkpoint and --score.
    """
    from a2bgan.report.thresholds import say_too_few

    if calibration is None:
        errors.print(
            "[yellow]no threshold:[/] `a2bgan calibrate` sets one, in an exported file when it is "
            "made anew; scores alone follow",
            soft_wrap=True,
        )
    elif not calibration.applies_to(pick):
        # Only what the run stands for is calibrated, so `calibrate` is no help for another score.
        remedy = (
            "`a2bgan calibrate` makes it anew"
            if own
            else "there are p-values without --checkpoint and --score"
        )
        errors.print(
            "[yellow]no threshold:[/] the run was calibrated for another checkpoint or score; "
            f"{remedy}; scores alone follow",
            soft_wrap=True,
        )
        return None
    elif too_few := say_too_few(len(calibration.patient_scores), fpr):
        errors.print(f"[yellow]warning:[/] {too_few}", soft_wrap=True)
    return calibration


def figure(
    run: RunArgument,
    out: Annotated[Path, typer.Option(help="Picture to write: .png, .pdf or .svg.")],
    data: DataOption = None,
    split: SplitOption = "test",
    count: Annotated[int, typer.Option(min=1, help="Images of each label.")] = 4,
    seed: Annotated[int, typer.Option(min=0, help="Which images are drawn.")] = 0,
    score: ScoreOption = None,
    checkpoint: CheckpointOption = "selected",
    vmax: VmaxOption = None,
    where: WhereOption = None,
) -> None:
    """Draw test images, their healthy twins and the anomaly maps, as the paper does, with contours
    where the run is calibrated."""
    from a2bgan.detection.calibration import usable_calibration
    from a2bgan.detection.trained import load_trained
    from a2bgan.report.figure import FORMATS
    from a2bgan.report.run_figure import write_run_figure
    from a2bgan.training.run_folder import RunFolder

    if out.suffix.lower() not in FORMATS:  # before minutes are spent on scores
        raise InputError(f"--out {out}: use {', '.join(FORMATS[:-1])} or {FORMATS[-1]}")
    require_place(out)
    folder = RunFolder.open(run)
    manifest = own_or_chosen(folder, data, where)
    trained = load_trained(folder, checkpoint, score)
    calibration = usable_calibration(folder, trained.pick)
    write_run_figure(
        trained,
        manifest,
        out,
        split=split,
        count=count,
        seed=seed,
        vmax=vmax,
        pixel_threshold=None if calibration is None else calibration.pixel_threshold,
    )
    say_written(out)


def _write_metrics(metrics: dict[str, Any], path: Path, result: "Evaluation | None" = None) -> None:
    """Write measures and, beside them, the scores of the one result that they are of."""
    from a2bgan.files.atomic import write_atomically

    try:
        if result is not None:
            # Measures last: where they are there, so are their scores.
            result.write_scores(path.with_name(f"{path.stem}-scores.csv"))
        write_atomically(path, json.dumps(metrics, indent=2) + "\n")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written with its scores ({error.strerror}); choose another --out"
        ) from None
    say_written(path)


def _print_metrics(metrics: dict[str, Any]) -> None:
    from rich.table import Table

    from a2bgan.detection.evaluate import OF_ONE_RUN
    from a2bgan.detection.subgroups import Subgroup
    from a2bgan.report.pointing_table import POINTING, pointing_table

    beside = {f"{name}{end}" for name in POINTING for end in ("", "_sd")}
    elsewhere = {"manifest_sha256", "position_alone", *OF_ONE_RUN, *beside}
    table = Table(box=None, show_header=False)
    for name, value in metrics.items():
        if name.endswith("_ci") or name in elsewhere:
            continue
        shown = f"{value:.4f}" if isinstance(value, float) else str(value)
        if value is None:
            shown = "not defined here"
        if (interval := metrics.get(f"{name}_ci")) is not None:
            shown += f"  (95 % {interval[0]:.4f} to {interval[1]:.4f})"
        table.add_row(name, escape(shown))
    output.print(table)
    if counts := metrics.get("confusion"):
        table = Table("at the threshold", "flagged", "not flagged", box=None)
        table.add_row("abnormal", *(str(counts[f"abnormal_{k}"]) for k in ("flagged", "missed")))
        table.add_row("normal", *(str(counts[f"normal_{k}"]) for k in ("flagged", "left_alone")))
        output.print(table)
    if groups := metrics.get("subgroups"):
        table = Table("group", "normal", "abnormal", "AUROC (95 %)", box=None)
        for group in groups:
            table.add_row(*map(escape, Subgroup(**group).cells()))
        output.print(table)
    if lines := pointing_table(metrics):
        table = Table("where the map points", "map", "position alone", box=None)
        for line in lines:
            table.add_row(*line)
        output.print(table)
