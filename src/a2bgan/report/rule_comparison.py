"""A plot of what could have been selected over training, and what the rules picked."""

from itertools import cycle
from pathlib import Path

from matplotlib.figure import Figure

from a2bgan.detection.rule_comparison import RuleComparison

_LINES = {"ema": "-", "raw": "--"}
_MARKERS = "os^vD<>pXPhd8"


def write_rule_comparison(path: Path, comparison: RuleComparison) -> None:
    """Test AUROC of every candidate by step, the picks marked, and AUCp below where it is known.

    Each score has its colour, each score of patients its marker, and weights that were not averaged
    are dashed and hollow; so no two lines look alike, nor do the points of a single checkpoint.
    """
    panels = {"test AUROC": comparison.measured}
    if comparison.aucp:
        panels["AUCp (no labels)"] = comparison.aucp
    every = [c for candidates in panels.values() for c in candidates]
    colours = {score: f"C{k}" for k, score in enumerate(sorted({c.score for c in every}))}
    kinds = sorted({(c.score, c.patients) for c in every})
    markers = dict(zip(kinds, cycle(_MARKERS), strict=False))
    several = len({patients for _, patients in kinds}) > 1
    figure = Figure(figsize=(8, 3.2 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, candidates) in zip(all_axes, panels.items(), strict=True):
        for score, patients, version in sorted(
            {(c.score, c.patients, c.version) for c in candidates}
        ):
            line = [
                c
                for c in candidates
                if (c.score, c.patients, c.version) == (score, patients, version)
            ]
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
    steps = {c.checkpoint: c.step for c in comparison.measured}
    for row, marker in zip(comparison.rows, "*ov^sD", strict=False):
        all_axes[0].plot(
            steps[row.pick.checkpoint], row.auroc, marker, color="black", markersize=10,
            fillstyle="none", linestyle="none", label=f"picked: {row.rule}",
        )  # fmt: skip
    all_axes[-1].set_xlabel("step")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=130)
