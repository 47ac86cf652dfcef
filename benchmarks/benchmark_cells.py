"""`a2bgan benchmark` for the studies: its options, and its AUROC cells."""

import argparse
import csv
import os
from pathlib import Path

from own_command import a2bgan
from result_page import script_parser


def study_parser(
    doc: str | None, *, minutes: float, seeds: int, runs: str
) -> argparse.ArgumentParser:
    """The options that all studies have, with their defaults."""
    parser = script_parser(doc, "docs/results")
    parser.add_argument("--methods", default="a2bgan,brainomaly,ddad,pu,ganomaly")
    parser.add_argument("--minutes", type=float, default=minutes)
    parser.add_argument("--seeds", type=int, default=seeds)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--runs", type=Path, default=Path(runs))
    return parser


def command(args: argparse.Namespace, script: str, *, own: str = "") -> str:
    """How to run a study again; ``own``: options that it alone has."""
    threads = os.environ.get("OMP_NUM_THREADS")
    first = f"OMP_NUM_THREADS={threads} " if threads else ""
    options = f"--minutes {args.minutes:g} --seeds {args.seeds} --jobs {args.jobs}"
    return f"`{first}python benchmarks/{script}{own} {options} --methods {args.methods}`"


def aurocs(
    args: argparse.Namespace, data: Path, out: Path, *, methods: str | None = None
) -> dict[str, str]:
    """Run the benchmark on a set, or go on with it; AUROC with its interval by method.

    ``methods``: which, where not all of ``args.methods``.
    """
    options: dict[str, object] = {"--methods": methods or args.methods, "--seeds": args.seeds}
    options |= {"--minutes": args.minutes, "--jobs": args.jobs, "--data": data, "--out": out}
    a2bgan("benchmark", *(part for option in options.items() for part in option))
    with (out / "benchmark.csv").open(newline="") as file:
        return {row["method"]: row["AUROC (95 %)"] for row in csv.DictReader(file)}
