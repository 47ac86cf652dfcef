"""`a2bgan select` and `a2bgan calibrate`: decisions that need no labels."""

import json
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import list_failures, note, say, say_next, say_written, stdout, warn
from a2bgan.cli.data_options import WhereOption, own_or_chosen
from a2bgan.cli.run_options import FidResizeOption, InceptionOption, RunArgument, feature_network
from a2bgan.detection import RATE
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest, Row
    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.decisions.fitting import Decision
    from a2bgan.detection.decisions.selection import Selection
    from a2bgan.detection.image_sets import RunImages
    from a2bgan.detection.measures.fid import FeatureNetwork
    from a2bgan.detection.trained_model import Trained
    from a2bgan.training.run_folder import RunFolder


class Rule(StrEnum):
    """Rules to pick a checkpoint by."""

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
    fid_resize: FidResizeOption = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Analysis: what each rule picks and what it costs.")
    ] = False,
    data: Annotated[
        str | None, typer.Option(help="With --compare: labelled data; by default the run's test.")
    ] = None,
    where: WhereOption = None,
) -> None:
    """Pick the checkpoint, weights and score that a run stands for."""
    from a2bgan.detection.decisions.fitting import decide
    from a2bgan.detection.image_sets import RunImages
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
    if not compare and rule is not Rule.FID and (inception, fid_resize) != (None, None):
        raise InputError("--inception goes with --by fid or --compare")
    if compare:
        manifest = own_or_chosen(folder, data, where)
        # Without twins FID has nothing to compare; who gives weights for it gets the error.
        with_fid = folder.config().facts.makes_twin or inception is not None
        _compare(folder, manifest, feature_network(inception, fid_resize) if with_fid else None)
        return
    network = feature_network(inception, fid_resize) if rule is Rule.FID else None
    with run_lock(folder.path, "select"):
        images = RunImages.of_run(folder)
        decision = decide(folder, _selection(folder, rule, images, labels, network), images)
        say_decision(decision)
        for sentence in decision.warnings:
            warn(sentence)
        if folder.calibration_file.exists():
            _calibrate(folder, decision.trained, images)
    say_next("evaluate", run)


def calibrate(
    run: RunArgument,
    fpr: Annotated[
        float, typer.Option(min=0.001, max=0.5, help="False-alarm rate to show.")
    ] = RATE,
) -> None:
    """Score the held-out healthy images, from which p-values come, and set the threshold of
    contours; show what they promise, of scores at --fpr."""
    from a2bgan.detection.image_sets import RunImages
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.training.run_folder import RunFolder
    from a2bgan.training.run_lock import run_lock

    folder = RunFolder.open(run)
    with run_lock(folder.path, "calibrate"):
        _calibrate(folder, load_trained(folder), RunImages.of_run(folder), fpr)
    say_next("evaluate", run)


def say_decision(decision: "Decision") -> None:
    """Print what was selected, and the estimated share of diseased."""
    from a2bgan.detection.decisions.selection import shown_error

    pick, details = decision.trained.pick, decision.details
    text = f"selected {pick.checkpoint}, {pick.version} weights, score {pick.score} by {pick.rule}"
    for key, name in (("aucp", "AUCp"), ("auroc", "AUROC")):
        if key in details:
            text += f" ({name} {details[key]:.3f}, standard error {shown_error(details)})"
    if "features" in details:
        text += f" (FID {details['fid']:.2f}, {details['features']})"
    say(text)
    if "diseased_share" in details:
        low, high = details["diseased_share_ci"]
        say(
            "estimated share of diseased in the mixed set: "
            f"{details['diseased_share']:.0%} (95 % {low:.0%} to {high:.0%})"
        )


def say_thresholds(calibration: "Calibration", makes_map: bool, fpr: float = RATE) -> None:
    """Print what the thresholds of scores and of contours promise."""
    from a2bgan.detection.decisions.thresholds import describe_contours, describe_threshold

    if sentence := describe_threshold(calibration, fpr):
        say(sentence)
    if makes_map:
        say(describe_contours(calibration))


def _calibrate(
    run: "RunFolder", trained: "Trained", images: "RunImages", fpr: float = RATE
) -> None:
    from a2bgan.detection.decisions.fitting import calibrate_run
    from a2bgan.detection.decisions.thresholds import threshold_warnings

    found = calibrate_run(run, trained, images)
    say_thresholds(found, trained.makes_map, fpr)
    for sentence in threshold_warnings(found, fpr):
        warn(sentence)


def _selection(
    run: "RunFolder",
    rule: Rule,
    images: "RunImages",
    labels: Path | None,
    network: "FeatureNetwork | None",
) -> "Selection":
    from a2bgan.detection.decisions.fitting import select_by
    from a2bgan.detection.decisions.selection import select_by_labels
    from a2bgan.detection.image_sets import load_labelled

    if rule is not Rule.LABELS:
        return select_by(run, rule.value, images, network)
    if labels is None:
        raise InputError("--by labels needs --labels: a manifest of a few labelled images")
    labelled, values = load_labelled(_rows_to_select_by(run, labels), run.config().data)
    list_failures(labelled.failures, "left out of the selection")
    return select_by_labels(run, labelled, values)


def _rows_to_select_by(run: "RunFolder", labels: Path) -> "list[Row]":
    """The labelled rows that the run has not learned from; the others are counted."""
    from a2bgan.data.formats.slice_names import volume_of
    from a2bgan.data.manifest import read_manifest
    from a2bgan.data.volume_rows import expand_volumes
    from a2bgan.detection.image_sets import without_learned

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
        note(
            f"{left_out} of {len(rows)} labelled images left out: of the run's healthy or mixed "
            "set or of their patients"
        )
    return kept


def _compare(run: "RunFolder", manifest: "Manifest", network: "FeatureNetwork | None") -> None:
    """Show and write what each rule would have picked, and the best candidate there was."""
    from rich.table import Table

    from a2bgan.detection.decisions.rule_comparison import compare_rules
    from a2bgan.detection.image_sets import RunImages, load_labelled

    config = run.config()
    labelled, labels = load_labelled(manifest.split("test"), config.data)
    list_failures(labelled.failures, "left out")
    comparison = compare_rules(run, RunImages.of_run(run), labelled, labels, network)
    table = Table("rule", "checkpoint", "weights", "score", "test AUROC", "lost", box=None)
    for row in comparison.rows:
        pick = row.pick
        table.add_row(
            row.rule, pick.checkpoint, pick.version, pick.score, f"{row.auroc:.4f}",
            f"{comparison.best - row.auroc:.4f}",
        )  # fmt: skip
    stdout.print(table)
    target = run.path / "selection-compare"
    target.with_suffix(".json").write_text(json.dumps(comparison.as_dict(), indent=2) + "\n")
    comparison.plot(target.with_suffix(".png"))
    say_written(f"{target}.json, {target}.png")
