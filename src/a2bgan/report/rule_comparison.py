"""A plot of what could have been selected over training, and what the rules picked."""

from pathlib import Path

from matplotlib.figure import Figure

from a2bgan.detection.rule_comparison import RuleComparison

_STYLES = {"mean": "-", "smooth-max": "--", "top-k": "-.", "mask-weighted": ":"}
_COLOURS = {"ema": "#1f6f8b", "raw": "#c26a3d"}


def write_rule_comparison(path: Path, comparison: RuleComparison) -> None:
    """Test AUROC of every candidate by step, the picks marked, and AUCp below where it is known."""
    panels = {"test AUROC": comparison.measured}
    if comparison.aucp:
        panels["AUCp (no labels)"] = comparison.aucp
    figure = Figure(figsize=(8, 3.2 * len(panels)), layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    for axes, (title, candidates) in zip(all_axes, panels.items(), strict=True):
        for version, score in sorted({(c.version, c.score) for c in candidates}):
            line = [c for c in candidates if (c.version, c.score) == (version, score)]
            axes.plot(
                [c.step for c in line],
                [c.auroc for c in line],
                _STYLES.get(score, "-"),
                color=_COLOURS.get(version),
                label=f"{score}, {version}",
                linewidth=1.2,
            )
        axes.set_ylabel(title)
        axes.grid(alpha=0.3)
    steps = {c.checkpoint: c.step for c in comparison.measured}
    for row, marker in zip(comparison.rows, "*ov^sD", strict=False):
        all_axes[0].plot(
            steps[row.pick.checkpoint], row.auroc, marker, color="black", markersize=8,
            fillstyle="none", linestyle="none", label=f"picked: {row.rule}",
        )  # fmt: skip
    all_axes[-1].set_xlabel("step")
    figure.legend(*all_axes[0].get_legend_handles_labels(), loc="outside right upper", fontsize=7)
    figure.savefig(path, dpi=130)
