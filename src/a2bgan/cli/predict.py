"""`a2bgan predict`."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import list_failures, note, say, say_written, stderr, warn
from a2bgan.cli.data_options import KeepIdentifiersOption, WhereOption, require_sources
from a2bgan.cli.run_options import CheckpointOption, ScoreOption, VmaxOption
from a2bgan.detection import RATE
from a2bgan.errors import InputError, name_some

if TYPE_CHECKING:
    from collections.abc import Iterable

    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.exported_model import Exported
    from a2bgan.detection.predict import Prediction
    from a2bgan.detection.trained_model import Pick, Trained

PART_SIZE = 1000


class Runtime(StrEnum):
    """Runtimes that run a network."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


def predict(
    run: Annotated[
        Path,
        typer.Argument(metavar="RUN", help="Run folder of `train`, or a file of `a2bgan export`."),
    ],
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images, volumes, folders, manifests.")
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
    ] = RATE,
    dicom_out: Annotated[
        Path | None, typer.Option(help="New or empty folder for DICOM results of DICOM images.")
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
    from a2bgan.detection.decisions.thresholds import why_no_contours
    from a2bgan.detection.inputs import find_inputs
    from a2bgan.detection.predict import predict as predict_images
    from a2bgan.report.score_tables import Written, write_predictions
    from a2bgan.report.scored_parts import Workers, score_in_parts

    workers = Workers.from_environment()
    in_parts = part_size is not None or workers.count > 1
    if in_parts and (pictures or dicom_out is not None):
        raise InputError("parts hold scores alone: leave out --pictures and --dicom-out")
    require_sources(inputs)
    chosen = TagFilter(where) if where else None
    workers.take_gpu()
    model, calibration = _open_model(run, checkpoint, score, runtime, half)
    found = find_inputs(
        inputs,
        keep_identifiers=keep_identifiers,
        series=model.data.series == "volume",
        results=[out] if dicom_out is None else [out, dicom_out],
    )
    if chosen is not None:
        found, sentence = chosen.keep(found, lambda item: item.path)
        note(sentence)
    if in_parts and any(is_volume(item.path) for item in found):
        raise InputError("volumes are not scored in parts: leave out --part-size and torchrun")
    own = checkpoint == "selected" and score is None
    calibration = _usable(calibration, model.pick, fpr, own=own)
    outlining = model.makes_map and not in_parts
    if outlining and calibration is not None and (why := why_no_contours(calibration)):
        warn(why, "no contours")
    written: Written
    again = 0
    if in_parts:
        ended = score_in_parts(
            model, found, out, workers, part_size or PART_SIZE, calibration=calibration, rate=fpr
        )
        if ended is None:
            say("all parts are there; another process has written the table")
            return
        say_written(out / "scores.parquet", f"{ended.scored} images scored")
        written, again = ended, ended.again
    else:
        scale = model.map_scale if vmax is None else vmax
        pixel_threshold = None if calibration is None else calibration.pixel_threshold
        scored: Iterable[Prediction] = predict_images(model, found, pixel_threshold)
        results = None
        if dicom_out is not None:
            # highdicom takes a while
            from a2bgan.report.dicom_results import DicomObjects, DicomResults

            objects = DicomObjects(model.data, vmax=scale, keep_identifiers=keep_identifiers)
            results = DicomResults(dicom_out, objects)
            scored = results.passing(scored)
        written = write_predictions(
            track(scored, total=len(found), console=stderr, description="scoring"),
            out,
            calibration=calibration,
            rate=fpr,
            pictures=pictures is not False,
            vmax=scale,
        )
        if results is not None:
            if calibration is not None:
                results.add_p_values(written.p_values, fpr)
            say_written(dicom_out, f"DICOM results of {results.written} images")
            list_failures(results.left_out, "without DICOM results")
        say_written(out / "scores.csv", f"{written.scored} images scored")
    if calibration is not None:
        say(f"{written.flagged} of {written.patients} {written.counted_as} flagged (p <= {fpr:g})")
    if written.outlined is not None:
        say(f"{written.outlined} of {written.scored} images with a contour")
    if written.unfamiliar:
        warn(
            f"{len(written.unfamiliar)} of {written.scored} look like none of the images that the "
            "model learned from, so that their scores mean nothing: "
            f"{name_some(written.unfamiliar)} (unfamiliar in the table; so does 1 in 100 ordinary "
            "images)"
        )
    for sentence in written.drift:
        warn(f"{sentence}; the threshold may not hold")
    list_failures(written.failures, "could not be scored")
    if again:
        note(
            f"{again} of them for a reason that may pass (missing, no memory, a failing disk); the "
            "same command tries them again"
        )
    # In parts the table is whole; torchrun would take an error for a lost process.
    if written.failures and not in_parts:
        raise typer.Exit(1)


def _open_model(
    path: Path, checkpoint: str, score: str | None, runtime: Runtime | None, half: bool
) -> "tuple[Trained | Exported, Calibration | None]":
    """Open a run's method, or an exported one, and its calibration."""
    from a2bgan.detection.decisions.calibration import read_calibration, same_scores
    from a2bgan.detection.exported_model import SUFFIXES, load_exported, runtime_of
    from a2bgan.detection.trained_model import load_trained, pick_of
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
    """The calibration where it holds for a pick; prints why there is no threshold.

    own: the pick is the run's own, not one of --checkpoint and --score.
    """
    from a2bgan.detection.decisions.thresholds import too_few_patients

    if calibration is None:
        warn(
            "`a2bgan calibrate` sets one, in an exported file when it is made anew; scores alone "
            "follow",
            "no threshold",
        )
    elif not calibration.applies_to(pick):
        # Only the run's own pick is calibrated, so `calibrate` is no help for another score.
        remedy = (
            "`a2bgan calibrate` makes it anew"
            if own
            else "there are p-values without --checkpoint and --score"
        )
        warn(
            f"the run was calibrated for another checkpoint or score; {remedy}; scores alone "
            "follow",
            "no threshold",
        )
        return None
    elif too_few := too_few_patients(len(calibration.patient_scores), fpr):
        warn(too_few)
    return calibration
