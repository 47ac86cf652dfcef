"""Compare detectors on the same images: train them, evaluate them, make the table."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from a2bgan.benchmark.child_commands import Children
from a2bgan.benchmark.detection_table import Repeat, make_table, write_tables
from a2bgan.benchmark.runs import Benchmark, Compared, Report, Training
from a2bgan.benchmark.text_tables import MethodRow
from a2bgan.benchmark.trivial_baseline import trivial_row
from a2bgan.data.config import DataConfig
from a2bgan.data.manifest import Manifest
from a2bgan.detection.evaluate import read_scores
from a2bgan.detection.trained_model import read_pick


def compare_detectors(
    benchmark: Benchmark,
    manifest: Manifest,
    config: DataConfig,
    *,
    jobs: int,
    threads: str,
    report: Report,
) -> Compared:
    """Train and evaluate what is left to do, and write the tables below ``benchmark.out``.

    Args:
        manifest, config: the images and preprocessing of the row that needs no training.
        jobs: trainings side by side, each with so many ``threads``, see `threads_of_each`.
    """
    rows = _rows(benchmark, jobs, threads, report)
    baseline = trivial_row(manifest, config)
    table = make_table(rows if baseline is None else [*rows, baseline])
    files = write_tables(benchmark.out, table, benchmark.command)
    return Compared(table.head, table.cells, files, any(row.failure for row in rows))


def _rows(benchmark: Benchmark, jobs: int, threads: str, report: Report) -> list[MethodRow[Repeat]]:
    rows = []
    with Children(threads) as children, ThreadPoolExecutor(jobs) as pool:
        pending = {
            key: pool.submit(_result, training, children)
            for key, training in benchmark.trainings.items()
        }
        try:
            for name, facts in benchmark.facts.items():
                found = [future.result() for (of, _), future in pending.items() if of == name]
                rows.append(MethodRow(name, facts, *benchmark.successes(found)))
                result = rows[-1].failure or f"AUROC {rows[-1].mean('auroc'):.4f}"
                report(f"{rows[-1].title}: {result}")
        except BaseException:
            # Otherwise leaving the block would first do all that is left.
            pool.shutdown(wait=False, cancel_futures=True)
            children.end()
            raise
    return rows


def _result(training: Training, children: Children) -> Repeat | str:
    """Train and evaluate as far as that is not done; return the reason if it fails."""
    # Not metrics.json, which `a2bgan evaluate` writes with whatever score it is given.
    metrics = training.run.path / "benchmark.json"
    scores = metrics.with_name("benchmark-scores.csv")
    if not (scores.exists() and _is_current(training, metrics)):
        if failure := training.train(children):
            return failure
        failure = children.run(
            "evaluate", training.run.path, *training.data_options, "--out", metrics
        )
        # It ends with 1 too where images were left out of a result that is there.
        if failure and not (scores.exists() and _is_current(training, metrics)):
            return failure
    resources = json.loads(training.run.resources_file.read_text())
    return Repeat(json.loads(metrics.read_text()), resources, *read_scores(scores))


def _is_current(training: Training, metrics: Path) -> bool:
    """True for measures of the run's present pick on these images."""
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
