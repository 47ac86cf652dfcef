"""The charts of a report, as matplotlib figures or as SVG in a data URI."""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.selection import Candidate
from a2bgan.detection.evaluate import Evaluation
from a2bgan.detection.measures import conformal
from a2bgan.detection.measures.roc import roc_band
from a2bgan.detection.pick import Pick
from a2bgan.errors import InputError
from a2bgan.rounding import measure_text, percent

INK = "#22313f"
COLOURS = {
    "healthy, held out": "#3a7d8c",
    "mixed, held out": "#b08d3c",
    "test, normal": "#7a8a99",
    "test, abnormal": "#b3472f",
}
_MOST_POINTS = 1000  # of a curve over training; more only make the file larger


def roc_figure(tested: Evaluation, calibration: Calibration | None, rate: float) -> Figure:
    """The ROC curve with its 95 % band and, with a calibration, the point at which ``rate`` of
    healthy patients are flagged. Raises InputError where there is one class only."""
    band = roc_band(tested.labels, tested.scores, tested.patients)
    if band is None:
        raise InputError("no ROC curve: the labelled images are all normal or all abnormal")
    figure, axes = _figure(4.2, 4.0)
    axes.fill_between(
        band.false_positive_rate, band.low, band.high, color="#3a7d8c", alpha=0.2, linewidth=0
    )
    axes.step(band.false_positive_rate, band.sensitivity, color="#3a7d8c", where="post")
    axes.plot([0, 1], [0, 1], color="#aaaaaa", linewidth=0.8, linestyle=":")
    span, interval = "", tested.metrics["auroc_ci"]
    if interval is not None:
        span = f" ({measure_text(interval[0])} to {measure_text(interval[1])})"
    shown = f"AUROC {measure_text(tested.metrics['auroc'])}{span}"
    axes.text(0.97, 0.05, shown, ha="right", fontsize=9)
    if calibration is not None:
        limit = conformal.threshold(calibration.patient_scores, rate)
        x, y = (float((tested.scores[tested.labels == k] > limit).mean()) for k in (0, 1))
        axes.plot(x, y, "o", color="#b3472f", markersize=7, zorder=5, clip_on=False)
        axes.annotate(
            f"threshold at {percent(rate)}", (x, y), (9, -4),
            textcoords="offset points", fontsize=9, color="#b3472f",
        )  # fmt: skip
    axes.set(
        xlim=(-0.01, 1.01), ylim=(-0.01, 1.01),
        xlabel="false-positive rate (1 - specificity)", ylabel="sensitivity",
    )  # fmt: skip
    return figure


def roc_chart(tested: Evaluation, calibration: Calibration | None, rate: float) -> str | None:
    """`roc_figure`; None where there is one class only."""
    both = len(set(tested.labels.tolist())) == 2
    return _uri(roc_figure(tested, calibration, rate)) if both else None


def histogram_chart(scores: Mapping[str, NDArray[Any]], threshold: float | None) -> str:
    """Scores of several sets over each other, as shares of each set; the threshold as a line."""
    shown = {name: values for name, values in scores.items() if len(values)}
    every = np.concatenate(list(shown.values()))
    low, high = every.min(), np.quantile(every, 0.995)
    edges = np.linspace(low, high if high > low else low + 1e-6, 41)
    figure, axes = _figure(7.2, 3.0)
    for name, values in shown.items():
        counts = np.histogram(np.minimum(values, edges[-1]), edges)[0]
        axes.stairs(
            counts / len(values), edges, color=COLOURS[name], label=f"{name} ({len(values)})",
            linewidth=1.5, fill=name == "healthy, held out",
            alpha=0.45 if name == "healthy, held out" else 1,
        )  # fmt: skip
    if threshold is not None and np.isfinite(threshold):
        axes.axvline(threshold, color=INK, linestyle="--", linewidth=1, label="threshold")
    axes.set(xlabel="score (the highest ones are in the last bar)", ylabel="share of images")
    axes.legend(frameon=False, fontsize=8)
    return _uri(figure)


def selection_chart(candidates: Sequence[Candidate], pick: Pick) -> str:
    """AUCp of the picked score, weights and patient score over training, with its standard
    error."""
    picked = (pick.version, pick.score, pick.patients)
    line = [c for c in candidates if (c.version, c.score, c.patients) == picked]
    steps, values = [c.step for c in line], np.array([c.auroc for c in line])
    errors = np.array([c.error for c in line])
    figure, axes = _figure(7.2, 2.6)
    axes.fill_between(
        steps, values - errors, values + errors, color="#b08d3c", alpha=0.25, linewidth=0
    )
    axes.plot(steps, values, "o-", color="#b08d3c", markersize=3)
    for c in line:
        if c.checkpoint == pick.checkpoint:
            axes.plot(c.step, c.auroc, "o", color=INK, fillstyle="none", markersize=10)
            axes.annotate(
                "selected", (c.step, c.auroc), (0, -16), textcoords="offset points",
                ha="center", fontsize=8,
            )  # fmt: skip
    axes.axhline(0.5, color="#aaaaaa", linewidth=0.8, linestyle=":")
    axes.set(xlabel="step", ylabel="AUCp, mixed against healthy")
    return _uri(figure)


def losses_chart(log: Sequence[Mapping[str, float]]) -> str | None:
    """Losses over training, and A2B-GAN's mask area; None where nothing was logged."""
    names = {key for line in log for key in line} - {"step", "seconds", "steps_per_second"}
    if not names:
        return None
    rows = [[("d_adversarial", "discriminator"), ("g_adversarial", "translator")]]
    rows.append([("g_identity", "identity"), ("g_reconstruction", "reconstruction")])
    rows.append([("mask_mean", "mask area (share of the image)")])
    if "mask_mean" not in names:
        rows = [[(name, name.replace("_", " "))] for name in sorted(names)[:4]]
    figure = Figure(figsize=(7.2, 0.4 + 1.4 * len(rows)), layout="constrained")
    panels = figure.subplots(len(rows), 1, sharex=True, squeeze=False)[:, 0]
    thin = log[:: max(1, len(log) // _MOST_POINTS)]
    for axes, series in zip(panels, rows, strict=True):
        _plain(axes)
        for (key, label), colour in zip(series, ("#3a7d8c", "#b3472f"), strict=False):
            points = [(line["step"], line[key]) for line in thin if key in line]
            if points:
                axes.plot(*zip(*points, strict=True), color=colour, linewidth=1, label=label)
        if axes.lines:
            axes.legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel("step")
    return _uri(figure)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots()
    _plain(axes)
    return figure, axes


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)
    axes.xaxis.label.set_fontsize(9)
    axes.yaxis.label.set_fontsize(9)


def _uri(figure: Figure) -> str:
    text = io.StringIO()
    # The same input gives the same bytes: no date, no random names.
    with matplotlib.rc_context({"svg.hashsalt": "a2bgan", "svg.fonttype": "path"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, transparent=True)
    encoded = base64.b64encode(text.getvalue().encode()).decode()
    return f"data:image/svg+xml;base64,{encoded}"
