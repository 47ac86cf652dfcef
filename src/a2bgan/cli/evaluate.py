"""`a2bgan evaluate` and `a2bgan compare`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from a2bgan.cli.console import list_failures, say, say_written, stdout, warn
from a2bgan.cli.data_options import (
    AllowLeaksOption,
    KeepIdentifiersOption,
    WhereOption,
    own_or_chosen,
    report_leaks,
)
from a2bgan.cli.run_options import (
    CheckpointOption,
    DataOption,
    RunArgument,
    ScoreOption,
    SplitOption,
    require_place,
    say_next_report,
)
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.detection.evaluate import Evaluation


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
    What the measures are: docs/reading.md"""
    from a2bgan.detection.audit.reliability import read_weaknesses
    from a2bgan.detection.decisions.calibration import usable_calibration
    from a2bgan.detection.evaluate import evaluate as measure
    from a2bgan.detection.evaluate import summarise
    from a2bgan.detection.image_sets import describe_learned
    from a2bgan.detection.summary import metric_warnings, summary_sentence
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.training.run_folder import RunFolder

    if out is not None:
        require_place(out)
    folders = RunFolder.open_all(run)
    found, failed, warnings = [], False, []
    for folder in folders:
        manifest = own_or_chosen(folder, data, where, keep_identifiers)
        if data is None:
            report_leaks(folder.manifest_leaks(), allowed=True)
        else:
            leaks = describe_learned(folder, manifest.split(split), f"split {split} of {data}")
            report_leaks(leaks, allowed=allow_leaks)
        trained = load_trained(folder, checkpoint, score)
        calibration = usable_calibration(folder, trained.pick)
        result = measure(trained, manifest, split=split, calibration=calibration)
        list_failures(result.failures, "left out of the evaluation")
        list_failures(
            result.mask_failures, "could not be read: left out of the pixel measures", "mask"
        )
        failed = failed or bool(result.failures or result.mask_failures)
        found.append(result)
        doubtful = [f"this model is doubtful: {why}" for why in read_weaknesses(folder)]
        for sentence in doubtful + metric_warnings(result.metrics):
            warnings.append(f"{folder.path.name}: {sentence}" if len(folders) > 1 else sentence)
        target = folder.path / "metrics.json" if out is None else out
        if out is not None and len(folders) > 1:
            target = out.with_name(f"{out.stem}-{folder.path.name}{out.suffix}")
        _write_metrics(result.metrics, target, result)
    metrics = found[0].metrics
    if len(found) > 1:
        metrics = summarise(found)
        _write_metrics(metrics, out if out is not None else run / "metrics.json")
    _print_metrics(metrics)
    if (summary := summary_sentence(metrics)) is not None:
        say(summary)
    for sentence in warnings:
        warn(sentence)
    say_next_report(run)
    if failed:
        raise typer.Exit(1)


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
    from a2bgan.detection.evaluate import evaluate
    from a2bgan.detection.measures.delong import compare_aurocs
    from a2bgan.detection.trained_model import load_trained
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
        say(f"{path}: AUROC {auroc:.4f}")
    low, high = found.interval
    say(
        f"difference {found.difference:+.4f} (95 % {low:+.4f} to {high:+.4f}), "
        f"p = {found.p_value:.3g} (DeLong, patients)"
    )


def _write_metrics(metrics: dict[str, Any], path: Path, result: "Evaluation | None" = None) -> None:
    """Write measures and, for a single run, the scores behind them."""
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

    from a2bgan.detection.audit.subgroups import Subgroup
    from a2bgan.detection.evaluate import OF_ONE_RUN
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
    stdout.print(table)
    if counts := metrics.get("confusion"):
        table = Table("at the threshold", "flagged", "not flagged", box=None)
        table.add_row("abnormal", *(str(counts[f"abnormal_{k}"]) for k in ("flagged", "missed")))
        table.add_row("normal", *(str(counts[f"normal_{k}"]) for k in ("flagged", "left_alone")))
        stdout.print(table)
    if groups := metrics.get("subgroups"):
        table = Table("group", "normal", "abnormal", "AUROC (95 %)", box=None)
        for group in groups:
            table.add_row(*map(escape, Subgroup(**group).cells()))
        stdout.print(table)
    if lines := pointing_table(metrics):
        table = Table("where the map points", "map", "position alone", box=None)
        for line in lines:
            table.add_row(*line)
        stdout.print(table)
