"""`a2bgan report` and `a2bgan figure`."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import note, say_next, say_written
from a2bgan.cli.data_options import (
    KeepIdentifiersOption,
    WhereOption,
    open_chosen,
    own_or_chosen,
    refuse_where_without_data,
)
from a2bgan.cli.run_options import (
    CheckpointOption,
    DataOption,
    RunArgument,
    ScoreOption,
    SplitOption,
    VmaxOption,
    require_place,
    say_next_report,
)
from a2bgan.detection import RATE
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest
    from a2bgan.training.run_folder import RunFolder


def report(
    run: RunArgument,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write, .html or .pdf.", show_default="RUN/report.html"),
    ] = None,
    card: Annotated[
        bool,
        typer.Option("--card", help="Write a model card instead, RUN/model-card.md or --out."),
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data whose test split is shown; by default the run's own. Where the run's own "
            "images have moved, the same manifest at its new place."
        ),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="False-alarm rate of the threshold shown.")
    ] = RATE,
    show_ids: Annotated[
        bool,
        typer.Option(
            "--show-ids",
            help="The manifest's patient_id instead of numbers; without --keep-identifiers these "
            "are pseudonyms too.",
        ),
    ] = False,
    where: WhereOption = None,
    keep_identifiers: KeepIdentifiersOption = False,
) -> None:
    """Write one self-contained file about a run, HTML or PDF, for people to read."""
    from a2bgan.detection.examination import examine
    from a2bgan.report.html_report import write_report
    from a2bgan.report.pdf import require_pdf
    from a2bgan.training.run_folder import RunFolder

    folder = RunFolder.open(run)
    target = out or run / ("model-card.md" if card else "report.html")
    require_place(target)
    if not card and target.suffix.lower() not in (".html", ".htm", ".pdf"):
        raise InputError(f"--out {target}: use .html or .pdf")
    if card:
        from a2bgan.report.model_card import write_model_card

        if data is not None or show_ids:
            raise InputError("--card reads no images: leave out --data and --show-ids")
        write_model_card(folder, target)
        say_written(target)
        say_next_report(run)
        return
    if target.suffix.lower() == ".pdf":
        require_pdf()
    if not folder.manifest_source_file.exists():
        raise InputError(
            f"{run}: trained on arrays, and a report shows what was learned from; measure it with "
            f"`a2bgan evaluate {shlex.quote(str(run))} --data DATA`"
        )
    manifest = None
    if data is None:
        refuse_where_without_data(where)
    else:
        manifest = _shown_data(folder, data, where, keep_identifiers)
    write_report(examine(folder, manifest), target, rate=fpr, show_ids=show_ids)
    say_written(target)
    say_next("serve", run)


def _shown_data(
    run: "RunFolder", data: str, where: str | None, keep_identifiers: bool
) -> "Manifest":
    """The data to show; where the run's own images are gone, these are noted as their new place.

    A report shows what the run learned from too, so other data cannot stand for it.
    """
    gone = not Path(run.noted_image_root()).is_dir()
    if gone:
        where = where or run.manifest_where()
    manifest = open_chosen(data, run.config().data, where, keep_identifiers)
    if not gone:
        return manifest
    if manifest.sha256 != run.manifest_sha256():
        raise InputError(
            f"{run.noted_image_root()}: the images that the run learned from are gone, and {data} "
            "is another manifest (or chosen by another --where, or with another choice of "
            "--keep-identifiers); put them back, or give --data theirs where it is now"
        )
    run.keep_manifest(manifest, run.manifest_leaks())
    note(f"the images of this run are now in {manifest.root}: noted in the run")
    return manifest


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
    from a2bgan.detection.decisions.calibration import usable_calibration
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.report.figure import FORMATS, write_run_figure
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
    say_next_report(run)
