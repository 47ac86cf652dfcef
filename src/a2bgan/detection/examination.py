"""Everything that a report shows of a run: its decisions, measures and audits."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from a2bgan.data.holdout import Holdout
from a2bgan.data.manifest import Manifest, Row
from a2bgan.detection.audit.score_audit import ScoreAudit, audit_score
from a2bgan.detection.audit.shortcuts import Audit, audit_shortcuts
from a2bgan.detection.decisions.calibration import Calibration, usable_calibration
from a2bgan.detection.decisions.selection import Candidate, read_candidates
from a2bgan.detection.evaluate import Evaluation, evaluate
from a2bgan.detection.image_sets import RunImages, describe_learned, load_rows, without_learned
from a2bgan.detection.trained_model import Trained, load_trained, read_selection
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class ScoredRows:
    """Rows whose images can be read, and their scores (N,)."""

    rows: Sequence[Row]
    scores: np.ndarray


@dataclass(frozen=True, slots=True)
class Examination:
    """The results of examining a run.

    own: the run's manifest; shown: the one whose test split is shown.
    selection: ``selection.json``, empty where nothing was selected.
    evaluation: of the labelled test images shown; None where there are none.
    test: the test images, labelled or not. calibration_images: of the run. mixed_scores: (N,), of
        mixed images held out to select by.
    leaks: what the test images shown share with those that were learned from.
    """

    run: RunFolder
    own: Manifest
    shown: Manifest
    holdout: Holdout
    trained: Trained
    selection: dict[str, Any]
    candidates: list[Candidate]
    calibration: Calibration | None
    evaluation: Evaluation | None
    test: ScoredRows
    calibration_images: ScoredRows
    mixed_scores: np.ndarray
    leaks: list[str]
    shortcuts: Audit | None
    score_audit: ScoreAudit | None


def examine(run: RunFolder, shown: Manifest | None = None) -> Examination:
    """Load a run, evaluate it, and audit data and scores.

    shown: whose test split is shown, by default the run's own.

    Raises InputError if there is no checkpoint, or the images are gone.
    """
    trained, own = load_trained(run), run.manifest()
    calibration = usable_calibration(run, trained.pick)
    holdout = Holdout.read(run.holdout_file)
    leaks = run.manifest_leaks()
    if shown is not None:
        leaks = describe_learned(run, shown.split("test"), "these test images")
    test = (shown or own).split("test")
    evaluation = None
    if any(row.label is not None for row in test):
        evaluation = evaluate(trained, shown or own, calibration=calibration)
        tested = ScoredRows(evaluation.rows, evaluation.scores)
    else:
        tested = _score(trained, test)
    healthy = _score(trained, holdout.rows(own, "healthy", "calibration"))
    mixed = RunImages.of_run(run).both("selection")[1]
    return Examination(
        run,
        own,
        shown or own,
        holdout,
        trained,
        read_selection(run) or {},
        read_candidates(run),
        calibration,
        evaluation,
        tested,
        healthy,
        trained.scores(mixed.images),
        leaks,
        audit_shortcuts(own, trained.data),
        _audit_score(run, trained, healthy, evaluation if shown is None else None),
    )


def _score(trained: Trained, rows: Sequence[Row]) -> ScoredRows:
    loaded, read = load_rows(rows, trained.data)
    return ScoredRows(read, trained.scores(loaded.images))


def _audit_score(
    run: RunFolder, trained: Trained, healthy: ScoredRows, evaluation: Evaluation | None
) -> ScoreAudit | None:
    """Audit the scores of healthy calibration images and of normal patients in the run's own test
    split, as far as nothing was learned from them."""
    rows, scores = list(healthy.rows), healthy.scores
    if evaluation is not None:
        diseased = {r.patient_id for r in evaluation.rows if r.label == 1}
        unseen = {r.name for r in without_learned(run, evaluation.rows)}
        normal = [
            k
            for k, r in enumerate(evaluation.rows)
            if r.name in unseen and r.patient_id not in diseased
        ]
        rows += [evaluation.rows[k] for k in normal]
        scores = np.concatenate([scores, evaluation.scores[normal]])
    return audit_score(rows, scores, trained.data, trained.pick.patients)
