"""`a2bgan select` and `a2bgan calibrate`: decisions that need no labels."""

from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from a2bgan.cli.console import errors, list_failures, output, say_written
from a2bgan.cli.data_options import WhereOption, own_or_chosen
from a2bgan.cli.feature_network import InceptionOption, feature_network
from a2bgan.cli.run_options import RunArgument
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest, Row
    from a2bgan.detection.selection import Selection
    from a2bgan.training.run_folder import RunFolder


class Rule(StrEnum):
    """How a checkpoint is picked."""

    AUCP = "aucp"
    FID = "fid"
    LABELS = "labels"
    LAST = "last"


def select(
    run: RunArgument,
    by: Annotated[
        Rule | None,
        typer.Option(
            help="aucp: what best tells held-out mixed images from healthy ones, without labels; "
            "fid: whose translations of A are nearest to B, the paper's rule; labels: what is best "
            "on --labels; last: the last checkpoint.",
            show_default="the preset's selection.by",
        ),
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Manifest of 10 to 50 labelled images, for --by labels; its paths count from its "
            "own folder or from that of the run's images. Images of the run's healthy and mixed "
            "sets and of their patients are left out."
        ),
    ] = None,
    inception: InceptionOption = None,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Analysis: what each rule picks and what it costs."),
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="With --compare: labelled data; by default the run's test.")
    ] = None,
    where: WhereOption = None,
) -> None:
    """Pick the checkpoint, weights and score that a run stands for."""
    from a2bgan.training.run_folder import RunFolder
    from a2bgan.training.run_lock import run_lock

    folder = RunFolder.open(run)
    rule = Rule(folder.config().selection.by) if by is None else by
    if compare and by is not None:
        raise InputError("--compare shows every rule: leave out --by")
    if labels is not None and (compare or rule is not Rule.LABELS):
        raise InputError("--labels goes with --by labels")
    if data is not None and not compare:
        raise InputError("--data goes with --compare")
    if where and not compare:
        raise InputError("--where goes with --compare and --data")
    if not compare and rule is not Rule.FID and inception is not None:
        raise InputError("--inception goes with --by fid or --compare")
    if compare:
        _compare(folder, own_or_chosen(folder, data, where), inception)
        return
    with run_lock(folder.path, "select"):
        decide(folder, rule, labels=labels, inception=inception)
        if folder.calibration_file.exists():
            set_threshold(folder)


def calibrate(
    run: RunArgument,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="False-alarm rate to show.")
    ] = 0.05,
) -> None:
    """Score the held-out healthy images, from which p-values come, and set the threshold of
    contours; show what they promise, of scores at --fpr."""
    from a2bgan.training.run_folder import RunFolder
    from a2bgan.training.run_lock import run_lock

    folder = RunFolder.open(run)
    with run_lock(folder.path, "calibrate"):
        set_threshold(folder, fpr)


def decide(
    run: "RunFolder",
    rule: Rule,
    *,
    labels: Path | None = None,
    inception: Path | None = None,
) -> None:
    """Select by a rule, write ``selection.json`` and say what was picked."""
    from a2bgan.detection.doubts import DOUBTS, find_doubts
    from a2bgan.detection.held_out import load_both
    from a2bgan.detection.selection import diseased_share, shown_error
    from a2bgan.detection.trained import load_trained, write_selection

    selection = _select(run, rule, labels, inception)
    details, pick = dict(selection.details), selection.pick
    healthy, mixed = load_both(run, "selection")
    details |= {"n_healthy": len(healthy), "n_mixed": len(mixed)}
    said = f"selected {pick.checkpoint}, {pick.version} weights, score {pick.score} by {rule.value}"
    for key, name in (("aucp", "AUCp"), ("auroc", "AUROC")):
        if key in details:
            said += f" ({name} {details[key]:.3f}, standard error {shown_error(details)})"
    if "features" in details:
        said += f" (FID {details['fid']:.2f}, {details['features']})"
    output.print(said, soft_wrap=True)
    if len(healthy) and len(mixed):
        share = diseased_share(run, pick, healthy, mixed)
        details |= {"diseased_share": share.share, "diseased_share_ci": list(share.interval)}
        low, high = share.interval
        output.print(
            f"estimated share of diseased in the mixed set: {share.share:.0%} "
            f"(95 % {low:.0%} to {high:.0%})",
            soft_wrap=True,
        )
    doubts = find_doubts(run, load_trained(run, pick.checkpoint).method, details, healthy, mixed)
    write_selection(run, pick, **details, **{DOUBTS: doubts})
    for doubt in doubts:
        errors.print(f"[yellow]this model is doubtful:[/] {escape(doubt)}", soft_wrap=True)


def set_threshold(run: "RunFolder", fpr: float = 0.05) -> None:
    """Calibrate, write ``calibration.json`` and say what a false-alarm rate means here."""
    from a2bgan.detection import conformal
    from a2bgan.detection.calibration import calibrate as calibrate_scores
    from a2bgan.detection.held_out import load_part
    from a2bgan.detection.trained import load_trained
    from a2bgan.report.thresholds import say_contours, say_outliers, say_too_few

    trained = load_trained(run)
    learned = [load_part(run, split, "training") for split in ("healthy", "mixed")]
    found = calibrate_scores(trained, load_part(run, "healthy", "calibration"), learned)
    found.write(run)
    patients = len(found.patient_scores)
    if too_few := say_too_few(patients, fpr):
        errors.print(f"[yellow]warning:[/] {too_few}", soft_wrap=True)
    else:
        ones = "the held-out one" if patients == 1 else f"the {patients} held-out ones"
        limit = conformal.threshold(found.patient_scores, fpr)
        output.print(
            f"flag when p <= {fpr:g} (score above {limit:.5f}): at most {fpr:.1%} of healthy "
            f"patients like {ones}, on average over such sets; with 95 % confidence at most "
            f"{conformal.worst_rate(patients, fpr):.1%} with this one",
            soft_wrap=True,
        )
    if outliers := say_outliers(found):
        errors.print(f"[yellow]warning:[/] {outliers}", soft_wrap=True)
    if trained.makes_map:
        output.print(say_contours(found), soft_wrap=True)


def _select(
    run: "RunFolder", rule: Rule, labels: Path | None, inception: Path | None
) -> "Selection":
    from a2bgan.detection import selection
    from a2bgan.detection.held_out import load_both, load_labelled

    config = run.config()
    if rule is Rule.LAST:
        return selection.select_last(run)
    if rule is Rule.LABELS:
        if labels is None:
            raise InputError("--by labels needs --labels: a manifest of a few labelled images")
        labelled, values = load_labelled(_rows_to_select_by(run, labels), config.data)
        list_failures([(f.name, f.reason) for f in labelled.failures], "left out of the selection")
        return selection.select_by_labels(run, labelled, values)
    if rule is Rule.FID:
        network = feature_network(inception)
        return selection.select_by_fid(run, *load_both(run, "training"), network)
    healthy, mixed = load_both(run, "selection")
    if not len(healthy) or not len(mixed):
        raise InputError(
            "nothing was held out to select by; train with --set holdout.fraction=0.1 and, where "
            "images are few, --set holdout.at_most=null; or --by last"
        )
    return selection.select_by_aucp(run, selection.Validator(run, healthy, mixed))


def _rows_to_select_by(run: "RunFolder", labels: Path) -> "list[Row]":
    """The labelled rows that the run has not learned from; says how many others there are."""
    from a2bgan.data.formats.slice_names import volume_of
    from a2bgan.data.manifest import read_manifest
    from a2bgan.data.volume_rows import expand_volumes
    from a2bgan.detection.held_out import without_learned

    manifest = read_manifest(labels)
    if not any(Path(volume_of(row.path)).exists() for row in manifest.rows):
        # An export of the reading room lies where the browser put it, far from the images.
        manifest = read_manifest(labels, run.image_root())
    labelled = tuple(row for row in manifest.rows if row.label is not None)
    rows = expand_volumes(replace(manifest, rows=labelled), run.config().data).rows
    kept = without_learned(run, rows)
    if rows and not kept:
        raise InputError(
            f"{labels}: all {len(rows)} labelled images are of the run's healthy or mixed set or "
            "of their patients; give labels of other images, such as its test images"
        )
    if left_out := len(rows) - len(kept):
        errors.print(
            f"{left_out} of {len(rows)} labelled images left out: of the run's healthy or mixed "
            "set or of their patients",
            soft_wrap=True,
        )
    return kept


def _compare(run: "RunFolder", manifest: "Manifest", inception: Path | None) -> None:
    """Table and plot of what each rule would have picked, and the best there was."""
    import json

    from rich.table import Table

    from a2bgan.detection.held_out import load_both, load_labelled
    from a2bgan.detection.rule_comparison import compare_rules
    from a2bgan.detection.selection import Validator
    from a2bgan.report.rule_comparison import write_rule_comparison

    config = run.config()
    labelled, labels = load_labelled(manifest.split("test"), config.data)
    list_failures([(f.name, f.reason) for f in labelled.failures], "left out")
    healthy, mixed = load_both(run, "selection")
    # Of methods without twins FID has nothing to compare; who gives weights for it is told so.
    with_fid = config.facts.makes_twin or inception is not None
    comparison = compare_rules(
        run,
        labelled,
        labels,
        validator=Validator(run, healthy, mixed) if len(healthy) and len(mixed) else None,
        fid=(feature_network(inception), *load_both(run, "training")) if with_fid else None,
    )
    table = Table("rule", "checkpoint", "weights", "score", "test AUROC", "lost", box=None)
    for row in comparison.rows:
        pick = row.pick
        table.add_row(
            row.rule, pick.checkpoint, pick.version, pick.score, f"{row.auroc:.4f}",
            f"{comparison.best - row.auroc:.4f}",
        )  # fmt: skip
    output.print(table)
    target = run.path / "selection-compare"
    target.with_suffix(".json").write_text(json.dumps(comparison.as_dict(), indent=2) + "\n")
    write_rule_comparison(target.with_suffix(".png"), comparison)
    say_written(f"{target}.json, {target}.png")
