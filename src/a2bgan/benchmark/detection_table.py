"""The table of a benchmark: every method on the same images, as CSV, Markdown, LaTeX and a plot."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from a2bgan.benchmark.text_tables import MethodRow, failure_lines, write_text_tables
from a2bgan.detection.measures.bootstrap import bootstrap_auroc_interval
from a2bgan.detection.measures.delong import compare_aurocs, holm
from a2bgan.detection.measures.matched_auroc import matched_auroc
from a2bgan.detection.measures.position import position_warning
from a2bgan.errors import InputError

OURS = "a2bgan"
"""The method that the others are compared with."""

TRIVIAL = "trivial"
"""The row of `a2bgan.benchmark.trivial_baseline`, a statistic in place of a method."""

RANDOM_FEATURES = "random features"
"""The note of methods whose networks were not trained."""

_MAP_MEASURES = {
    "map_auroc": "map AUROC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "within_image_auroc": "within-image AUROC",
    "hit_rate": "hit rate",
    "position_matched_auroc": "position-matched AUROC",
    "dice": "Dice",
}

POSITION_ALONE = "position alone"
"""The row of the best guess of a lesion that never looks at the image."""


@dataclass(frozen=True, slots=True, eq=False)
class Repeat:
    """One training of a method, evaluated.

    metrics: what `a2bgan evaluate` measured; resources: seconds and bytes of the training.
    paths, labels, scores, patients: of the test images, (N,) each.
    """

    metrics: dict[str, Any]
    resources: dict[str, Any]
    paths: list[str]
    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray

    def get(self, measure: str, /) -> Any:
        """A measure; None where it is not defined."""
        return self.metrics.get(measure)


def scores_of(row: MethodRow[Repeat]) -> np.ndarray:
    """Scores of all repeats, (repeats, N)."""
    return np.stack([repeat.scores for repeat in row.repeats])


@dataclass(frozen=True, slots=True, eq=False)
class BenchmarkTable:
    """The table of all methods, failures last, as head and cells.

    rows, intervals: the methods with results, the best AUROC first, and the interval of each one's
    mean AUROC.
    """

    rows: list[MethodRow[Repeat]]
    intervals: list[tuple[float, float] | None]
    head: list[str]
    cells: list[list[str]]


def make_table(rows: Sequence[MethodRow[Repeat]]) -> BenchmarkTable:
    """Compare methods.

    Measures that no method has are left out. The p-value is DeLong's against A2B-GAN, of the mean
    AUROCs of these trainings on the same patients, corrected for the number of rows by Holm's
    method. With a TRIVIAL row there are AUROCs with test images matched by its statistic too; where
    maps were compared with masks, a last line has the measures of position alone.

    Raises InputError if the methods were not evaluated on the same images.
    """
    good = sorted((row for row in rows if row.repeats), key=lambda row: -row.mean("auroc"))
    images = {tuple(r.paths) for row in good if row.name != TRIVIAL for r in row.repeats}
    if len(images) > 1:
        raise InputError("the methods could not read the same test images")
    if images:  # of other images it is no baseline
        good = [row for row in good if tuple(row.repeats[0].paths) in images]
    ours = next((row for row in good if row.name == OURS), None)
    trivial = next((row for row in good if row.name == TRIVIAL), None)
    of_maps = {k: v for k, v in _MAP_MEASURES.items() if any(r.mean(k) == r.mean(k) for r in good)}
    on_gpu = any(repeat.resources["peak_gpu_memory"] for row in good for repeat in row.repeats)
    lines, intervals = [], []
    p_values = holm([_p_value(row, ours) for row in good])
    for row, p_value in zip(good, p_values, strict=True):
        first, notes = row.repeats[0], _notes(row)
        interval = bootstrap_auroc_interval(first.labels, scores_of(row), first.patients)
        intervals.append(interval)
        line = {
            "method": row.facts.title if row.name in (OURS, TRIVIAL) else row.title,
            "n": str(len(row.repeats)),
            "AUROC (95 %)": _with_interval(row.mean("auroc"), interval),
        }
        if trivial is not None:
            covariate = trivial.repeats[0].scores
            left = matched_auroc(first.labels, scores_of(row), covariate, first.patients)
            line["matched AUROC (95 %)"] = (
                "none alike" if np.isnan(left.auroc) else _with_interval(left.auroc, left.interval)
            )
            if row is trivial:
                notes.add(f"{left.matched:.0%} of the abnormal have normal images like them")
        aurocs = [repeat.metrics["auroc"] for repeat in row.repeats]
        line["sd"] = f"{np.std(aurocs, ddof=1):.4f}" if len(aurocs) > 1 else ""
        line["AUPRC"] = _cell(row, "auprc")
        line |= {column: _cell(row, measure) for measure, column in of_maps.items()}
        line["p against A2B-GAN"] = "" if np.isnan(p_value) else f"{p_value:.2g}"
        line["score"] = ", ".join(sorted({r.metrics["score"] for r in row.repeats}))
        line["training, s"] = f"{_mean_resource(row, 'training_seconds'):.0f}"
        memory = _mean_resource(row, "peak_memory")
        line["memory, GB"] = f"{memory / 1e9:.2f}" if memory else ""
        if on_gpu:
            line["GPU, GB"] = f"{_mean_resource(row, 'peak_gpu_memory') / 1e9:.2f}"
        line["images/s"] = f"{row.mean('images_per_second'):.0f}"
        line["note"] = "; ".join(sorted(notes))
        lines.append(line)
    head = list(lines[0]) if lines else ["method", "note"]
    if (guess := _position_alone(good)) is not None:
        known = {c: guess[m] for m, c in of_maps.items() if guess.get(m) is not None}
        lines.append({"method": POSITION_ALONE, **{c: f"{v:.4f}" for c, v in known.items()}})
    cells = [[line.get(column, "") for column in head] for line in lines]
    return BenchmarkTable(good, intervals, head, cells + failure_lines(rows, len(head)))


def _notes(row: MethodRow[Repeat]) -> set[str]:
    notes = {r.metrics["note"] for r in row.repeats if r.metrics.get("note")}
    for counted, what in (("n_failed", "test images"), ("n_masks_failed", "masks")):
        left_out = {r.metrics.get(counted, 0) for r in row.repeats} - {0}
        notes |= {f"{count} {what} left out" for count in left_out}
    if row.failure:
        notes.add(f"failed: {row.failure}")
    if warned := sum(position_warning(r.metrics) is not None for r in row.repeats):
        several = f" in {warned} of {len(row.repeats)}" if len(row.repeats) > 1 else ""
        notes.add(f"map no better than position alone{several}")
    return notes


def _p_value(row: MethodRow[Repeat], ours: MethodRow[Repeat] | None) -> float:
    """p-value of the difference from A2B-GAN; NaN where there is none."""
    if ours is None or row is ours:
        return float("nan")
    first = row.repeats[0]
    return compare_aurocs(first.labels, scores_of(row), scores_of(ours), first.patients).p_value


def write_tables(folder: Path, table: BenchmarkTable, command: str) -> list[Path]:
    """Write ``benchmark.csv``, ``.md``, ``.tex`` and ``.png`` and return their paths.

    Raises InputError if they cannot be written.
    """
    plot = folder / "benchmark.png"
    above = _above(table, command)
    texts = write_text_tables(folder, "benchmark", above, table.head, table.cells)
    try:
        _plot(table).savefig(plot, dpi=130)
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return [*texts, plot]


def _position_alone(rows: Sequence[MethodRow[Repeat]]) -> dict[str, float | None] | None:
    """Measures of the guess that never looks at the image, by name; None without masks.

    The first method's are taken; another image size hardly changes them.
    """
    for row in rows:
        for repeat in row.repeats:
            if "position_alone" in repeat.metrics:
                return {"position_matched_auroc": 0.5, **repeat.metrics["position_alone"]}
    return None


def _cell(row: MethodRow[Repeat], measure: str) -> str:
    value = row.mean(measure)
    return "" if np.isnan(value) else f"{value:.4f}"


def _with_interval(auroc: float, interval: tuple[float, float] | None) -> str:
    return f"{auroc:.4f}" + ("" if interval is None else f" ({interval[0]:.4f}-{interval[1]:.4f})")


def _mean_resource(row: MethodRow[Repeat], name: str) -> float:
    return float(np.mean([repeat.resources[name] or 0 for repeat in row.repeats]))


def _above(table: BenchmarkTable, command: str) -> list[str]:
    """Lines above the table in Markdown: the command, and how to read its columns."""
    lines = [f"`{command}`", ""]
    if table.rows:
        first = table.rows[0].repeats[0].metrics
        lines += [
            f"{first['n_normal']} normal and {first['n_abnormal']} abnormal test images. AUROC: "
            "mean of n trainings, interval by bootstrap over patients; p: DeLong's test on these "
            "trainings, corrected for the number of rows (Holm). Checkpoint and score were "
            "selected without labels, or are the last and the paper's where images were too few to "
            "hold any out for that.",
            "",
        ]
    trivial = next((row for row in table.rows if row.name == TRIVIAL), None)
    if trivial is not None:
        lines += [
            f"Matched AUROC: abnormal images against normal ones that are alike in "
            f"{trivial.repeats[0].metrics['score']}, the statistic that best tells the mixed set "
            "from the healthy one; what follows it alone comes to 0.5.",
            "",
        ]
    if _position_alone(table.rows) is not None:
        lines += [
            "Maps against masks: lesions have usual places, and knowing them alone raises pixel "
            f"measures. The row *{POSITION_ALONE}* is the guess of each image's lesion from other "
            "patients' lesions; a map that points at lesions is above it. Within-image AUROC: of "
            "the pixels of each image, averaged; hit rate: share of the images with a lesion whose "
            "highest pixel lies in it; position-matched AUROC: images whose lesion covers a place "
            "against images whose lesion is elsewhere, 0.5 for what knows position alone; Dice: of "
            "the contours at the threshold that healthy images set.",
            "",
        ]
    return lines


def _label(row: MethodRow[Repeat]) -> str:
    """A method's title, with the word that keeps untrained features from being taken for its own
    result."""
    untrained = any(repeat.metrics.get("note") == RANDOM_FEATURES for repeat in row.repeats)
    return f"{row.facts.title} (untrained)" if untrained else row.facts.title


def _plot(table: BenchmarkTable) -> Figure:
    """AUROC of every method with its interval; a dot for every training."""
    count = len(table.rows)
    figure = Figure(figsize=(7, 0.9 + 0.36 * max(count, 1)), layout="constrained")
    axes = figure.subplots()
    for place, (row, interval) in enumerate(zip(table.rows, table.intervals, strict=True)):
        colour = "#b3472f" if row.name == OURS else "#3a7d8c"
        if interval is not None:
            axes.plot(interval, (place, place), color=colour, linewidth=2, alpha=0.5)
        axes.plot(row.mean("auroc"), place, "D", color=colour, markersize=6)
        each = [repeat.metrics["auroc"] for repeat in row.repeats]
        axes.plot(each, [place] * len(each), ".", color="black", markersize=4)
    axes.set_yticks(range(count), [_label(row) for row in table.rows])
    axes.invert_yaxis()
    axes.axvline(0.5, color="#aaaaaa", linewidth=0.8, linestyle=":")
    axes.set_xlabel("test AUROC: mean (diamond), its 95 % interval, each training (dots)")
    axes.spines[["top", "right"]].set_visible(False)
    return figure
