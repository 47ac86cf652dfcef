"""`a2bgan report` and `a2bgan compare`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import errors, output, say_written
from a2bgan.cli.data_options import (
    KeepIdentifiersOption,
    WhereOption,
    open_chosen,
    own_or_chosen,
    refuse_where_without_data,
)
from a2bgan.cli.out_file import require_place
from a2bgan.cli.run_options import RunArgument, SplitOption
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest
    from a2bgan.training.run_folder import RunFolder


def report(
    run: RunArgument,
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write.", show_default="RUN/report.html")
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="Data whose test split is shown; by default the run's own. Where the run's own "
            "images have moved, the same manifest at its new place."
        ),
    ] = None,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="False-alarm rate of the threshold shown.")
    ] = 0.05,
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
    """Write one self-contained HTML file about a run, for people to read."""
    from a2bgan.report.html_report import write_report
    from a2bgan.training.run_folder import RunFolder

    target = run / "report.html" if out is None else out
    folder = RunFolder.open(run)
    require_place(target)
    if not folder.manifest_source_file.exists():
        raise InputError(
            f"{run}: trained on arrays, and a report shows what was learned from; measure it with "
            f"`a2bgan evaluate {run} --data DATA`"
        )
    manifest = None
    if data is None:
        refuse_where_without_data(where)
    else:
        manifest = _shown_data(folder, data, where, keep_identifiers)
    write_report(folder, target, manifest=manifest, rate=fpr, show_ids=show_ids)
    say_written(target)


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
    errors.print(
        f"the images of this run are now in {manifest.root}: noted in the run",
        soft_wrap=True,
        markup=False,
    )
    return manifest


def compare(
    first: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder, or repeated runs.")],
    second: Annotated[Path, typer.Argument(metavar="OTHER", help="Run or runs to compare with.")],
    data: Annotated[
        str | None, typer.Option(help="Labelled data; by default the first run's own.")
    ] = None,
    split: SplitOption = "test",
    where: WhereOption = None,
) -> None:
    """Test whether two runs detect equally well on the same patients (DeLong)."""
    from a2bgan.detection.delong import compare_aurocs
    from a2bgan.detection.evaluate import evaluate
    from a2bgan.detection.trained import load_trained
    from a2bgan.training.run_folder import RunFolder

    runs = [RunFolder.open_all(path) for path in (first, second)]
    manifest = own_or_chosen(runs[0][0], data, where)
    ones, others = (
        [evaluate(load_trained(run), manifest, split=split) for run in repeated]
        for repeated in runs
    )
    one = ones[0]
    names = [row.name for row in one.rows]
    if any([row.name for row in e.rows] != names for e in (*ones, *others)):
        raise InputError("the runs could not read the same images")
    if len(set(one.labels.tolist())) < 2:
        raise InputError(f"split {split}: labelled images of both kinds are needed")
    first_scores, second_scores = ([e.scores for e in each] for each in (ones, others))
    found = compare_aurocs(one.labels, first_scores, second_scores, one.patients)
    for path, auroc in zip((first, second), found.aurocs, strict=True):
        output.print(f"{escape(str(path))}: AUROC {auroc:.4f}", soft_wrap=True)
    low, high = found.interval
    output.print(
        f"difference {found.difference:+.4f} (95 % {low:+.4f} to {high:+.4f}), "
        f"p = {found.p_value:.3g} (DeLong, patients)",
        soft_wrap=True,
    )
