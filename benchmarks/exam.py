"""Every method on every set: the benchmark of `a2bgan benchmark`, its bounds, and one page.

    OMP_NUM_THREADS=1 python benchmarks/exam.py --minutes 4 --seeds 3 --own-seeds 5 \\
        --set tumours=DIR/lgg_flair/manifest.csv \\
        --set chests=DIR/nih_boxes/matched.csv,data.equalize=true

Trains each method of the package on each set, as `a2bgan benchmark` does: the same images, held-out
parts and time for all, checkpoint and score selected without labels, test images read once. Two
rows are no methods: the best trivial statistic, and *labels*, the linear probe taught with the
labels of the mixed set, so that A is known disease. Writes docs/results/benchmark.md. What was done
is not repeated, also with more seeds; --no-page only trains.
"""

import argparse
import csv
import os
import re
import shutil
from pathlib import Path

from a2bgan.benchmark.detection import compare_detectors
from a2bgan.benchmark.runs import Benchmark, Training, plan_trainings
from a2bgan.cli.data_options import open_chosen
from a2bgan.data.image_size import settled_for
from a2bgan.files.markdown import table_head, table_row
from a2bgan.training.config import load_config
from a2bgan.training.methods import METHODS
from result_page import head, script_parser, write_page

OURS = "a2bgan"
PROBE = "probe"
LABELS = "*labels*"
P_VALUE = "p against A2B-GAN"
FOUR_DIGITS = re.compile(r"\b\d\.\d{4}\b")
COLUMNS = {
    "n": "n",
    "AUROC (95 %)": "AUROC (95 %)",
    P_VALUE: "p",
    "pixel AP": "pixel AP",
    "hit rate": "hit rate",
    "position-matched AUROC": "position-matched",
    "Dice": "Dice",
    "training, s": "training, s",
    "memory, GB": "memory, GB",
}
"""Columns of the benchmark's table and their names on the page."""


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, default=3, help="trainings of each method")
    parser.add_argument("--own-seeds", type=int, default=5, help="trainings of A2B-GAN")
    parser.add_argument("--runs", type=Path, default=Path("runs/exam"))
    parser.add_argument("--page", action=argparse.BooleanOptionalAction, default=True)
    args = parser.parse_args()
    tables = {spec.partition("=")[0]: table(spec, args) for spec in args.set}
    if args.page:
        write_page(args.out / "benchmark.md", page(tables, args))


def table(spec: str, args: argparse.Namespace) -> list[dict[str, str]]:
    """Lines of a set's table: the methods, the best AUROC first, and the bounds."""
    name, _, rest = spec.partition("=")
    path, *settings = rest.split(",")
    methods = [n for n in METHODS if "detection" in METHODS[n].facts.tasks]
    seeds = {method: args.own_seeds if method == OURS else args.seeds for method in methods}
    lines = compared(Path(path), args.runs / name, seeds, settings, args.minutes, [])
    labelled = with_labels(Path(path), args.runs / name / "labelled")
    # Healthy and diseased images of a patient may now be on two sides, which makes it no method.
    flags = ["--allow-leaks"]
    bound = compared(
        labelled, args.runs / name / "labels", {PROBE: 1}, settings, args.minutes, flags
    )
    (best,) = [line for line in bound if line["method"].endswith(f"({PROBE})")]
    return [*lines, {**best, "method": LABELS}]


def compared(
    path: Path,
    out: Path,
    seeds: dict[str, int],
    settings: list[str],
    minutes: float,
    flags: list[str],
) -> list[dict[str, str]]:
    """Train and evaluate what is left to do; lines of the table, by its columns."""
    config = load_config(next(iter(seeds)), None, settings).data
    manifest = open_chosen(str(path), config, None, False)
    trainings: dict[tuple[str, int], Training] = {}
    data = ["--data", str(path), *flags]
    for method, count in seeds.items():
        trainings |= plan_trainings(
            [method], count, out / "runs", manifest, data, settings, "detection",
            minutes=minutes, backbone_weights=None,
        )  # fmt: skip
    facts = {method: METHODS[method].facts for method in seeds}
    found = compare_detectors(
        Benchmark(out, str(path), "", facts, trainings),
        manifest,
        settled_for(config, manifest),
        jobs=1,
        threads=os.environ.get("OMP_NUM_THREADS", ""),
        report=lambda line: print(path.stem, line, flush=True),
    )
    lines = [dict(zip(found.head, cells, strict=True)) for cells in found.cells]
    return [
        {
            column: cell if column == P_VALUE else FOUR_DIGITS.sub(three_digits, cell)
            for column, cell in line.items()
        }
        for line in lines
    ]


def three_digits(found: re.Match[str]) -> str:
    return f"{float(found[0]):.3f}"


def with_labels(path: Path, folder: Path) -> Path:
    """Copy a set, with the healthy images of the mixed set among the healthy; its manifest."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["split"] == "mixed" and row["label"] == "0":
            row["split"] = "healthy"
        for name in filter(None, (row["path"], row.get("mask"), row.get("twin"))):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path.parent / name, folder / name)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    return manifest


def page(tables: dict[str, list[dict[str, str]]], args: argparse.Namespace) -> list[str]:
    """Title, question, command, AUROCs of all sets, and a table for each set."""
    shown = " ".join(f"--set {name}=..." for name in tables)
    question = "Which method finds the diseased and the place, and is it more than a guess?"
    trained = f"--minutes {args.minutes:g} --seeds {args.seeds} --own-seeds {args.own_seeds}"
    lines = [
        *head("Every method on the same images", question, "exam.py", f"{trained} {shown}"),
        "Test AUROC: mean of the trainings.",
        "",
        *table_head(("", *tables)),
    ]
    aurocs = {
        name: {line["method"]: line.get("AUROC (95 %)", "").partition(" ")[0] for line in found}
        for name, found in tables.items()
    }
    methods = list(dict.fromkeys(method for of in aurocs.values() for method in of))
    for method in methods:
        if any(cells := [of.get(method, "") for of in aurocs.values()]):
            lines.append(table_row([method, *cells]))
    for name, found in tables.items():
        used = {
            column: title
            for column, title in COLUMNS.items()
            if any(line.get(column) for line in found)
        }
        lines += ["", f"## {name.capitalize()}", "", *table_head(("", *used.values()))]
        lines += [table_row([line["method"], *(line.get(c, "") for c in used)]) for line in found]
    lines += [
        "",
        "n trainings of each method; interval by bootstrap over patients; p: DeLong's test against "
        "A2B-GAN, corrected by Holm's method for the rows of the table; Dice at the threshold that "
        "healthy images set. *Labels*: the probe, taught with the labels of the mixed set.",
    ]
    return lines


if __name__ == "__main__":
    main()
