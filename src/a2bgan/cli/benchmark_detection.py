"""`a2bgan benchmark`: detectors on the same images, in one table."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from a2bgan.cli.benchmark_training import Training, print_columns, say_result, tell_apart
from a2bgan.cli.child_commands import Children
from a2bgan.cli.console import say_written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from a2bgan.data.config import DataConfig
    from a2bgan.data.manifest import Manifest
    from a2bgan.report.benchmark_table import MethodRow, Repeat
    from a2bgan.training.methods.method import Facts

ON_SCREEN = (
    "method",
    "AUROC (95 %)",
    "matched AUROC (95 %)",
    "hit rate",
    "position-matched AUROC",
    "p against A2B-GAN",
    "note",
)
"""Columns that fit a terminal, where they are there; the files have all."""


def benchmark_detection(
    trainings: "Mapping[tuple[str, int], Training]",
    facts: "Mapping[str, Facts]",
    out: Path,
    data: str,
    manifest: "Manifest",
    reading: "DataConfig",
    command: str,
    *,
    jobs: int,
    threads: str,
) -> bool:
    """Train and evaluate what is left to do, so many at a time; whether any failed.

    manifest, reading: the images of all, for the row that needs no training.
    """
    from a2bgan.report.benchmark_table import make_table, write_tables
    from a2bgan.report.trivial_baseline import trivial_row

    rows = _rows(trainings, facts, out, data, jobs, threads)
    baseline = trivial_row(manifest, reading)
    made = make_table(rows if baseline is None else [*rows, baseline])
    print_columns(made.head, made.cells, ON_SCREEN)
    for path in write_tables(out, made, command):
        say_written(path)
    return any(row.failure for row in rows)


def _rows(
    trainings: "Mapping[tuple[str, int], Training]",
    facts: "Mapping[str, Facts]",
    out: Path,
    data: str,
    jobs: int,
    threads: str,
) -> "list[MethodRow]":
    """What came of each method, which is said at once."""
    from a2bgan.report.benchmark_table import MethodRow

    rows = []
    with Children(threads) as children, ThreadPoolExecutor(jobs) as pool:
        pending = {key: pool.submit(_result, t, children) for key, t in trainings.items()}
        try:
            for name in facts:
                found = [future.result() for (of, _), future in pending.items() if of == name]
                rows.append(MethodRow(name, facts[name], *tell_apart(found, out, data)))
                said = rows[-1].failure or f"AUROC {rows[-1].auroc:.4f}"
                say_result(name, facts[name], said)
        except BaseException:
            # Otherwise leaving the block would first do all that is left.
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    return rows


def _result(training: Training, children: Children) -> "Repeat | str":
    """Do what is left to do; the reason if that fails."""
    from a2bgan.detection.evaluate import read_scores
    from a2bgan.report.benchmark_table import Repeat

    # Not metrics.json, which `a2bgan evaluate` writes with whatever score it is given.
    metrics = training.run.path / "benchmark.json"
    scores = metrics.with_name("benchmark-scores.csv")
    if not (scores.exists() and _is_current(training, metrics)):
        if failure := training.train(children):
            return failure
        failure = children.run("evaluate", training.run.path, *training.opening, "--out", metrics)
        # It ends with 1 too where images were left out of a result that is there.
        if failure and not (scores.exists() and _is_current(training, metrics)):
            return failure
    resources = json.loads(training.run.resources_file.read_text())
    return Repeat(json.loads(metrics.read_text()), resources, *read_scores(scores))


def _is_current(training: Training, metrics: Path) -> bool:
    """Whether these measures are of what the run stands for now, on these images."""
    from a2bgan.detection.trained import read_pick

    if not metrics.exists():
        return False
    names = ("manifest_sha256", "checkpoint", "weights", "score", "selected_by")
    try:
        known = json.loads(metrics.read_text())
        sha256, *measured = (known[name] for name in names)
    except (ValueError, KeyError, TypeError):  # damaged, or cut off where a process was killed
        return False
    pick = read_pick(training.run)
    if sha256 != training.manifest.sha256:
        return False
    if pick is None:
        return bool(known["selected_by"] == "last")
    return measured == [pick.checkpoint, pick.version, pick.score, pick.rule]
