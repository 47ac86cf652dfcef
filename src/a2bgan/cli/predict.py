"""`a2bgan predict`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import list_failures, note, say, say_next, say_written, stderr, warn
from a2bgan.cli.data_options import KeepIdentifiersOption, WhereOption, require_sources
from a2bgan.cli.run_options import (
    CheckpointOption,
    HalfOption,
    ModelArgument,
    RateOption,
    RuntimeOption,
    ScoreOption,
    VmaxOption,
    say_next_report,
)
from a2bgan.detection import RATE
from a2bgan.errors import name_some, not_installed

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.inputs import Input
    from a2bgan.detection.pick import Pick
    from a2bgan.detection.predict import Prediction


def predict(
    run: ModelArgument,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images, volumes, folders, manifests.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    score: ScoreOption = None,
    checkpoint: CheckpointOption = "selected",
    pictures: Annotated[
        bool,
        typer.Option(
            "--pictures/--no-pictures",
            help="Write a picture of each image.",
        ),
    ] = True,
    vmax: VmaxOption = None,
    fpr: RateOption = RATE,
    dicom_out: Annotated[
        Path | None, typer.Option(help="New or empty folder for DICOM results of DICOM images.")
    ] = None,
    runtime: RuntimeOption = None,
    half: HalfOption = False,
    accelerator: Annotated[
        str, typer.Option(help="PyTorch's device, such as cpu, cuda:1, mps or xpu.")
    ] = "auto",
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Score images, flag them by the calibrated threshold and outline where they differ."""
    from rich.progress import track

    from a2bgan.data.tag_filter import TagFilter
    from a2bgan.detection.decisions.thresholds import why_no_contours
    from a2bgan.detection.inputs import find_inputs
    from a2bgan.detection.open_model import open_model
    from a2bgan.detection.predict import predict as predict_images
    from a2bgan.report.score_tables import write_predictions

    require_sources(inputs)
    chosen = TagFilter(where) if where else None
    model, calibration = open_model(run, checkpoint, score, runtime, half, accelerator)
    found = find_inputs(
        inputs,
        keep_identifiers=keep_identifiers,
        series=model.data.series == "volume",
        results=[out] if dicom_out is None else [out, dicom_out],
    )
    if chosen is not None:
        found, sentence = chosen.keep(found, lambda item: item.path)
        note(sentence)
    if run.is_dir():
        _warn_of_learned(run, found)
    own = checkpoint == "selected" and score is None
    calibration = usable(calibration, model.pick, fpr, own=own)
    if model.makes_map and calibration is not None and (why := why_no_contours(calibration)):
        warn(why, "no contours")
    scale = model.map_scale if vmax is None else vmax
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    scored: Iterable[Prediction] = predict_images(model, found, pixel_threshold)
    results = None
    if dicom_out is not None:
        try:
            # highdicom takes a while
            from a2bgan.report.dicom_results import DicomObjects, DicomResults
        except ModuleNotFoundError as error:
            if error.name != "highdicom":
                raise
            raise not_installed("highdicom", "dicom") from None

        objects = DicomObjects(model.data, vmax=scale, keep_identifiers=keep_identifiers)
        results = DicomResults(dicom_out, objects)
        scored = results.passing(scored)
    written = write_predictions(
        track(scored, total=len(found), console=stderr, description="scoring"),
        out,
        calibration=calibration,
        rate=fpr,
        pictures=model.data if pictures else None,
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
    if run.is_dir():
        if len(inputs) == 1 and inputs[0].is_dir():
            say_next("serve", run, "--data", inputs[0], *(("--where", where) if where else ()))
        else:
            say_next_report(run)
    if written.failures:
        raise typer.Exit(1)


def _warn_of_learned(run: Path, inputs: "Sequence[Input]") -> None:
    """Say how many inputs a run has learned from."""
    from a2bgan.detection.image_sets import count_learned
    from a2bgan.training.run_folder import RunFolder

    if learned := count_learned(RunFolder.open(run), inputs):
        warn(
            f"{learned} of {len(inputs)} images are of the run's own healthy and mixed sets: "
            "scores and p-values of what it has learned from mean nothing"
        )


def usable(
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
        warn(f"{too_few} with --fpr")
    return calibration
