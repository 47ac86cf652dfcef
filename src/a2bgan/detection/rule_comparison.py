"""What each rule of selection would have picked, and what it would have cost: analysis alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from a2bgan.detection.fid import FeatureNetwork
from a2bgan.detection.held_out import HeldOut
from a2bgan.detection.selection import (
    Candidate,
    Selection,
    Validator,
    measure_missing,
    measure_with_labels,
    select_by_aucp,
    select_by_fid,
    select_last,
)
from a2bgan.detection.trained import Pick
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class RulePick:
    """A rule, what it picked and the AUROC that the pick has on the labelled images."""

    rule: str
    pick: Pick
    auroc: float


@dataclass(frozen=True, slots=True)
class RuleComparison:
    """rows: a line for each rule, the best there was first.

    measured: every candidate with its AUROC on the labelled images; aucp: every candidate with its
    AUCp, empty where nothing was held out.
    """

    rows: list[RulePick]
    measured: list[Candidate]
    aucp: list[Candidate]

    @property
    def best(self) -> float:
        """The highest AUROC that any checkpoint, weights and score had."""
        return self.rows[0].auroc

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def compare_rules(
    run: RunFolder,
    labelled: HeldOut,
    labels: np.ndarray,
    *,
    validator: Validator | None,
    fid: tuple[FeatureNetwork, HeldOut, HeldOut] | None,
) -> RuleComparison:
    """Measure every candidate on labelled images and look up what each rule picked.

    Args:
        run: with its checkpoints.
        labelled, labels: test images and their labels (N,), 0 or 1.
        validator: with held-out images, for AUCp; None leaves that rule out.
        fid: feature network, healthy and mixed training images; None leaves that rule out.

    Raises InputError unless there are images of both kinds.
    """
    measured = measure_with_labels(run, labelled, labels)
    picks: list[tuple[str, Selection]] = []
    if validator is not None:
        picks.append(("aucp", select_by_aucp(run, validator)))
    if fid is not None:
        network, healthy, mixed = fid
        selection = select_by_fid(run, healthy, mixed, network)
        picks.append((f"fid, {network.label}", selection))
    picks.append(("last", select_last(run)))
    top = max(measured, key=lambda c: c.auroc)
    best = Pick(top.checkpoint, top.version, top.score, "best", top.patients)
    rows = [RulePick("best there was", best, top.auroc)]
    rows += [RulePick(rule, s.pick, _auroc_of(s.pick, measured)) for rule, s in picks]
    return RuleComparison(
        rows, measured, [] if validator is None else measure_missing(run, validator)
    )


def _auroc_of(pick: Pick, candidates: Sequence[Candidate]) -> float:
    wanted = (pick.checkpoint, pick.version, pick.score, pick.patients)
    return next(
        c.auroc for c in candidates if (c.checkpoint, c.version, c.score, c.patients) == wanted
    )
