"""Fit a method to a healthy and a mixed set: train, select a checkpoint, calibrate thresholds."""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, get_args

import torch

from a2bgan.data.holdout import Part
from a2bgan.detection.audit.reliability import KEY, find_weaknesses
from a2bgan.detection.decisions.calibration import Calibration, calibrate
from a2bgan.detection.decisions.selection import (
    Selection,
    Validator,
    diseased_share,
    select_by_aucp,
    select_by_fid,
    select_last,
)
from a2bgan.detection.decisions.thresholds import threshold_warnings
from a2bgan.detection.image_sets import RunImages
from a2bgan.detection.measures.fid import EfficientNet, FeatureNetwork
from a2bgan.detection.trained_model import (
    Trained,
    load_pick,
    load_trained,
    read_details,
    write_selection,
)
from a2bgan.errors import InputError
from a2bgan.training.checkpoint import list_checkpoints
from a2bgan.training.config import Config
from a2bgan.training.loop import Outcome, Report, processes_here, train
from a2bgan.training.run_folder import RunFolder
from a2bgan.training.step_profile import StepProfile
from a2bgan.training.threads import threads_for_training

SETS = ("healthy", "mixed")


@dataclass(frozen=True, slots=True)
class Decision:
    """The selected model, and the rest of ``selection.json``."""

    trained: Trained
    details: dict[str, Any]

    @property
    def warnings(self) -> list[str]:
        """Reasons not to rely on the model."""
        return [f"this model is doubtful: {weakness}" for weakness in self.details[KEY]]


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted run.

    decision: None where nothing was selected, or an earlier selection still holds.
    calibration: None where no healthy images were held out for it.
    warnings: sentences, without a capital and a full stop.
    """

    trained: Trained
    decision: Decision | None
    calibration: Calibration | None
    warnings: list[str]


def train_run(
    run: RunFolder,
    images: RunImages,
    *,
    resume: bool = False,
    watch: Callable[[Report], None] = lambda report: None,
    profile: StepProfile | None = None,
) -> Outcome:
    """Train a run's method, measuring its checkpoints on the images held out to select by.

    See `a2bgan.training.loop.train`.
    """
    config = run.config()
    healthy, mixed = (images.part(name, "training") for name in SETS)
    held_out = images.both("selection")
    validator = None
    if all(map(len, held_out)):
        validator = Validator(run, *held_out, config.selection.patience)
    recorded = None
    if resume and list_checkpoints(run.checkpoints):
        # Older runs, which note nothing, had as many as PyTorch takes.
        recorded = run.environment().get("threads", torch.get_num_threads())
    with ExitStack() as stack:
        if config.train.nodes == 1:  # of several, each one's share is set by what starts them
            threads = threads_for_training(recorded, processes_here(config.train))
            run.note_threads(stack.enter_context(threads))
        return train(
            config,
            healthy.images,
            mixed.images,
            run,
            patients=(healthy.patients, mixed.patients),
            resume=resume,
            watch=watch,
            validate=validator,
            profile=profile,
        )


def patience_warning(config: Config, images: RunImages) -> str:
    """Why ``selection.patience`` will not end a training; "" where it may, or is not set."""
    if config.selection.patience is None or all(map(len, images.both("selection"))):
        return ""
    return _nothing_held_out(
        config, images, "to select by", "selection.patience will not end the training"
    )


def finish_run(
    run: RunFolder, images: RunImages, outcome: Outcome, score: str | None = None
) -> Fit:
    """Select a checkpoint of a trained run by ``selection.by`` and calibrate its thresholds.

    Writes ``selection.json``, unless nothing was trained since it was written, and
    ``calibration.json``.

    score: to calibrate and score with, in place of the selected one.
    """
    config, rule, warnings = run.config(), run.config().selection.by, list[str]()
    if rule == "aucp" and not all(map(len, images.both("selection"))):
        consequence = "the last checkpoint is taken"
        warnings.append(_nothing_held_out(config, images, "to select by", consequence))
        rule = "last"
    decision = None
    if outcome.steps or not run.selection_file.exists():
        try:
            decision = decide(run, select_by(run, rule, images), images)
            warnings += decision.warnings
        except InputError as error:
            # Only what FID needs can be missing here: twins, or two images of each set.
            warnings.append(
                f"nothing selected: {error}; the last checkpoint is used until another rule "
                "selects one, such as selection.by=aucp"
            )
    trained = load_trained(run) if decision is None else decision.trained
    if score is not None:
        trained = replace(trained, pick=replace(trained.pick, score=score))
        write_selection(run, trained.pick, **read_details(run))
    calibration = None
    if len(images.part("healthy", "calibration")):
        calibration = calibrate_run(run, trained, images)
        warnings += threshold_warnings(calibration)
    else:
        consequence = "there are no p-values and no flags"
        warnings.append(_nothing_held_out(config, images, "for the threshold", consequence))
    if not outcome.method.ready:
        warnings.append(
            "nothing that finds anomalies has been trained: the first steps, of a warm-up, took "
            f"all of the training ({outcome.position.step} steps), and what was selected is by "
            "chance; train longer: train.steps=N or train.minutes=N"
        )
    return Fit(trained, decision, calibration, warnings)


def select_by(
    run: RunFolder, rule: str, images: RunImages, network: FeatureNetwork | None = None
) -> Selection:
    """Select by the rule "aucp", "fid" or "last".

    network: for FID, by default `EfficientNet`. Raises InputError where the rule cannot be used.
    """
    if rule == "last":
        return select_last(run)
    if rule == "fid":
        return select_by_fid(run, *images.both("training"), network or EfficientNet())
    healthy, mixed = images.both("selection")
    if not len(healthy) or not len(mixed):
        raise InputError(
            "nothing was held out to select by; train with holdout.fraction=0.1 and, where images "
            "are few, holdout.at_most=null; or select by the rule last"
        )
    return select_by_aucp(run, Validator(run, healthy, mixed))


def decide(run: RunFolder, selection: Selection, images: RunImages) -> Decision:
    """Write ``selection.json``: the selection, the estimated share of diseased in the mixed set, as
    far as images are held out, and signs of weakness."""
    trained = load_pick(run, selection.pick)
    healthy, mixed = images.both("selection")
    details = {**selection.details, "n_healthy": len(healthy), "n_mixed": len(mixed)}
    if len(healthy) and len(mixed):
        share = diseased_share(trained, healthy, mixed)
        details |= {"diseased_share": share.share, "diseased_share_ci": list(share.interval)}
    details[KEY] = find_weaknesses(run, trained.method, details, healthy, mixed)
    write_selection(run, trained.pick, **details)
    return Decision(trained, details)


def calibrate_run(run: RunFolder, trained: Trained, images: RunImages) -> Calibration:
    """Calibrate a run's model and write ``calibration.json``. Raises InputError."""
    learned = [images.part(name, "training") for name in SETS]
    found = calibrate(trained, images.part("healthy", "calibration"), learned)
    found.write(run)
    return found


def _nothing_held_out(config: Config, images: RunImages, purpose: str, consequence: str) -> str:
    smallest = min(sum(len(images.rows(name, part)) for part in get_args(Part)) for name in SETS)
    if config.holdout.fraction == 0:
        return f"nothing held out {purpose}: {consequence}; train with holdout.fraction=0.1"
    if purpose == "to select by" and not config.holdout.selects(smallest):
        return (
            f"too few images to hold any out {purpose}: {consequence}; train with more, or with "
            "holdout.at_most=null"
        )
    return (
        f"nothing held out {purpose} (too few patients, or each with too many of the images): "
        f"{consequence}; train with more patients"
    )
