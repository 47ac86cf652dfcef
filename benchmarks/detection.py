"""Train variants of a configuration on one data set, several seeds each, and compare detection.

    python benchmarks/detection.py --data DIR/manifest.csv --name simulated --minutes 8 --seeds 3 \\
        --variant fast=fast \\
        --variant paper=paper-simulated,data.size=64,method.translator.width=16

Each variant is NAME=PRESET[,key=value...]. Uses the command line as anyone would: `train`, which
selects without labels; `evaluate`, which reads the test split once; and `select --compare`, which
says what that selection and others cost against the best checkpoint there was (`--no-compare` saves
its time). Prints a table and writes it to docs/results/NAME.md after every variant. Runs are kept
under --runs; what was done is not repeated, a training that was stopped goes on.
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2bgan.files.markdown import table_head, table_row
from a2bgan.training.run_folder import RunFolder
from own_command import a2bgan
from result_page import script_parser, write_page

RULES = ("aucp", "fid", "last")
MEASURES = (
    "map_auroc", "auprc", "pixel_auroc", "pixel_ap", "aupro", "within_image_auroc", "hit_rate",
    "position_matched_auroc", "dice", "healthy_with_contour", "twin_gain", "twin_healthy_change",
)  # fmt: skip


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--data", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--variant", action="append", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reach", type=float, help="AUROC whose first checkpoint is reported")
    parser.add_argument("--compare", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"))
    args = parser.parse_args()
    if args.reach is not None and not args.compare:
        parser.error("--reach asks every checkpoint, which --no-compare leaves out")
    rows = []
    first: list[dict] = []
    for variant in args.variant:
        name, _, spec = variant.partition("=")
        results: list[dict] = []
        for seed in range(args.seeds):
            path = args.runs / args.name / name / f"seed-{seed}"
            measured = measure(args.data, path, spec.split(","), args.minutes, seed, args.compare)
            results.append(measured)
            rows.append(row(name, seed, measured, args.reach))
            print(rows[-1], flush=True)
        rows.append(summary(name, results, first, rows[-1].count("|")))
        first = first or results
        write(args.out / f"{args.name}.md", args, rows)


def measure(
    data: str, path: Path, spec: list[str], minutes: float, seed: int, compare: bool
) -> dict:
    """Train, evaluate and, if asked, compare one seed, as far as that was not done before."""
    preset, *changes = spec
    settings = [*changes, f"train.minutes={minutes}", f"train.seed={seed}"]
    if not (path / "metrics.json").exists():
        if (path / "config.yaml").exists():
            a2bgan("train", "--out", path, "--data", data, "--resume")
        else:
            options = [part for setting in settings for part in ("--set", setting)]
            a2bgan("train", "--data", data, "--out", path, "--preset", preset, *options)
        a2bgan("evaluate", path)
    metrics = json.loads((path / "metrics.json").read_text())
    if metrics.get("twin_psnr_inside") is not None:
        metrics["twin_gain"] = metrics["twin_psnr_inside"] - metrics["twin_psnr_inside_input"]
    compared = path / "selection-compare.json"
    if compare and not compared.exists():
        a2bgan("select", path, "--compare")
    return {
        "metrics": metrics,
        "compared": json.loads(compared.read_text()) if compare else None,
        "log": list(RunFolder(path).metrics()),
        "selection": json.loads((path / "selection.json").read_text())
        if (path / "selection.json").exists()
        else {},
    }


def row(name: str, seed: int, result: dict, reach: float | None) -> str:
    metrics, log = result["metrics"], result["log"]
    cells = [name, str(seed), with_interval(metrics["auroc"], metrics["auroc_ci"])]
    if result["compared"] is not None:
        best, *others = result["compared"]["rows"]
        lost = {r["rule"].partition(",")[0]: best["auroc"] - r["auroc"] for r in others}
        cells += [f"{lost[rule]:.4f}" if rule in lost else "" for rule in RULES]
    cells += [f"{metrics[m]:.4f}" if metrics.get(m) is not None else "" for m in MEASURES]
    share, interval = (
        result["selection"].get(key) for key in ("diseased_share", "diseased_share_ci")
    )
    cells.append("" if share is None else with_interval(share, interval, 2))
    cells.append(f"{log[-1]['step']} / {log[-1]['seconds']:.0f}")
    if reach is not None:
        cells.append(first_reaching(result, reach))
    return table_row(cells)


def with_interval(value: float, interval: list[float], digits: int = 4) -> str:
    return f"{value:.{digits}f} ({interval[0]:.{digits}f}-{interval[1]:.{digits}f})"


def first_reaching(result: dict, reach: float) -> str:
    """Steps and seconds at the first checkpoint whose test AUROC, by the mean, is at least that."""
    steps = [
        c["step"]
        for c in result["compared"]["measured"]
        if c["score"] == "mean" and c["auroc"] >= reach
    ]
    if not steps:
        return "not reached"
    seconds = next(line["seconds"] for line in result["log"] if line["step"] >= min(steps))
    return f"{min(steps)} / {seconds:.0f}"


def summary(name: str, results: list[dict], first: list[dict], bars: int) -> str:
    """Means and standard deviations; of AUROCs, seed by seed, how far from the first variant."""
    cells = [f"**{name}**", "all"]
    compared = RULES if results[0]["compared"] is not None else ()
    for measure in ("auroc", *compared, *MEASURES):
        values = [r["metrics"].get(measure) for r in results]
        if None in values:
            cells.append("")
            continue
        shown = f"**{np.mean(values):.4f}**{spread(values)}"
        if first and measure.endswith("auroc"):
            away = np.subtract(values, [r["metrics"][measure] for r in first])
            shown += f"; {np.mean(away):+.4f}{spread(away)}"
        cells.append(shown)
    return table_row([*cells, *[""] * (bars - 1 - len(cells))])


def spread(values: Sequence[float]) -> str:
    return f" (sd {np.std(values, ddof=1):.4f})" if len(values) > 1 else ""


def write(path: Path, args: argparse.Namespace, rows: list[str]) -> None:
    head = ["variant", "seed", "AUROC (95 % interval)"]
    head += [f"lost by {rule}" for rule in RULES] if args.compare else []
    head += [*MEASURES, "diseased in A (95 % interval)", "steps / seconds"]
    if args.reach is not None:
        head.append(f"steps / seconds to AUROC {args.reach}")
    variants = " ".join(f"--variant {v}" for v in args.variant)
    more = f" --reach {args.reach}" if args.reach is not None else ""
    more += "" if args.compare else " --no-compare"
    threads = os.environ.get("OMP_NUM_THREADS")
    text = [
        f"# {args.name}",
        "",
        f"`{f'OMP_NUM_THREADS={threads} ' if threads else ''}python benchmarks/detection.py"
        f" --data ... --name {args.name} --minutes {args.minutes:g} --seeds {args.seeds} {variants}"
        f"{more}`",
        "",
        "AUROC on the test split of what was selected without labels, its interval by bootstrap"
        " over patients."
        + (
            " Lost: how much lower than the best of all checkpoints, weights and scores the pick of"
            " a rule is; fid with features of EfficientNet-Lite0."
            if args.compare
            else ""
        )
        + " In the rows of means: after the semicolon, how far from the first variant, seed by"
        " seed."
        " Map: the best score of the map, where the picked one is not of it. Twin gain: dB inside"
        " lesions by which the twin is nearer to the true healthy image than the input is."
        " Diseased in A: estimated without labels. Seconds: the training, with what is measured at"
        " its checkpoints.",
        "",
        *table_head(head),
        *rows,
    ]
    write_page(path, text)


if __name__ == "__main__":
    main()
