"""Compare rules of selection by their picks and what these cost: for analysis alone."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from a2bgan.detection.decisions.selection import (
    Candidate,
    Validator,
    measure_missing,
    measure_with_labels,
    select_by_aucp,
    select_by_fid,
    select_last,
)
from a2bgan.detection.image_sets import ImageSet, RunImages
from a2bgan.detection.measures.fid import FeatureNetwork
from a2bgan.detection.pick import Pick
from a2bgan.training.run_folder import RunFolder

_LINES = {"ema": "-", "raw": "--"}
_MARKERS = "os^vD<>pXPhd8"


@dataclass(frozen=True, slots=True)
class RulePick:
    """A rule, what it picked and the AUROC that the pick has on the labelled images."""

    rule: str
    pick: Pick
    auroc: float


@dataclass(frozen=True, slots=True)
class RuleComparison:
    """The picks of all rules, after the best candidate there was.

    measured: every candidate with its AUROC on the labelled images; aucp: every candidate with its
    AUCp, empty where nothing was held out.
    """

    rows: list[RulePick]
    measured: list[Candidate]
    aucp: list[Candidate]

    @property
    def best(self) -> float:
        """The highest AUROC of any checkpoint, weights and score."""
        return self.rows[0].auroc

    def as_dict(self) -> dict[str, Any]:
        """All values, for JSON."""
        return asdict(self)

    def plot(self, path: Path) -> None:
        """Draw the test AUROC of every candidate by step with the picks, and AUCp below it.

        Each score has its colour, each patient score its marker; lines of weights that were not
        averaged are dashed and hollow.
        """
        panels = {"test AUROC": self.measured}
        if self.aucp:
            panels["AUCp (no labels)"] = self.aucp
        every = [c for candidates in panels.values() for c in candidates]
        colours = {score: f"C{k}" for k, score in enumerate(sorted({c.score for c in every}))}
        kinds = sorted({(c.score, c.patients) for c in every})
        markers = dict(zip(kinds, cycle(_MARKERS), strict=False))
        several = len({patients for _, patients in kinds}) > 1
        figure = Figure(figsize=(8, 3.2 * len(panels)), layout="constrained")
        all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
        for axes, (title, candidates) in zip(all_axes, panels.items(), strict=True):
            lines: dict[tuple[str, str, str], list[Candidate]] = {}
            for c in candidates:
                lines.setdefault((c.score, c.patients, c.version), []).append(c)
            for (score, patients, version), line in sorted(lines.items()):
                of = f", {patients} of a patient" if several else ""
                axes.plot(
                    [c.step for c in line],
                    [c.auroc for c in line],
                    _LINES.get(version, "-"),
                    color=colours[score],
                    marker=markers[score, patients],
                    markersize=4,
                    fillstyle="full" if version == "ema" else "none",
                    label=f"{score}{of}, {version}",
                    linewidth=1.2,
                )
            axes.set_ylabel(title)
            axes.grid(alpha=0.3)
        steps = {c.checkpoint: c.step for c in self.measured}
        for row, marker in zip(self.rows, "*ov^sD", strict=False):
            all_axes[0].plot(
                steps[row.pick.checkpoint], row.auroc, marker, color="black", markersize=10,
                fillstyle="none", linestyle="none", label=f"picked: {row.rule}",
            )  # fmt: skip
        all_axes[-1].set_xlabel("step")
        handles = all_axes[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right upper", fontsize=7)
        figure.savefig(path, dpi=130)


def compare_rules(
    run: RunFolder,
    images: RunImages,
    labelled: ImageSet,
    labels: np.ndarray,
    network: FeatureNetwork | None,
) -> RuleComparison:
    """Measure every candidate on labelled images and look up what each rule picks.

    Args:
        images: of the run; without held-out ones AUCp is left out.
        labelled, labels: test images and their labels (N,), 0 or 1.
        network: for FID; None leaves that rule out.

    Raises InputError unless there are images of both kinds.
    """
    measured = measure_with_labels(run, labelled, labels)
    picks: list[tuple[str, Pick]] = []
    aucp: list[Candidate] = []
    held_out = images.both("selection")
    if all(map(len, held_out)):
        validator = Validator(run, *held_out)
        picks.append(("aucp", select_by_aucp(run, validator).pick))
        aucp = measure_missing(run, validator)
    if network is not None:
        selection = select_by_fid(run, *images.both("training"), network)
        picks.append((f"fid, {network.label}", selection.pick))
    picks.append(("last", select_last(run).pick))
    top = max(measured, key=lambda c: c.auroc)
    best = Pick(top.checkpoint, top.version, top.score, "best", top.patients)
    rows = [RulePick("best there was", best, top.auroc)]
    rows += [RulePick(rule, pick, _auroc_of(pick, measured)) for rule, pick in picks]
    return RuleComparison(rows, measured, aucp)


def _auroc_of(pick: Pick, candidates: Sequence[Candidate]) -> float:
    wanted = (pick.checkpoint, pick.version, pick.score, pick.patients)
    return next(
        c.auroc for c in candidates if (c.checkpoint, c.version, c.score, c.patients) == wanted
    )
