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
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2bgan.training.run_folder import RunFolder
from own_command import a2bgan
from result_page import head, script_parser, write_page

RULES = ("aucp", "fid", "last")
MEASURES = {
    "map_auroc": "map's AUROC",
    "auprc": "AUPRC",
    "pixel_auroc": "pixel AUROC",
    "pixel_ap": "pixel AP",
    "aupro": "AUPRO",
    "within_image_auroc": "AUROC within an image",
    "hit_rate": "hit rate",
    "position_matched_auroc": "position-matched AUROC",
    "dice": "Dice",
    "healthy_with_contour": "healthy with contour",
    "twin_gain": "twin gain, dB",
    "twin_healthy_change": "change of healthy",
}
"""Measures of `evaluate` and their rows; one that no variant has is left out."""


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
    found: dict[str, list[dict]] = {}
    for variant in args.variant:
        name, _, spec = variant.partition("=")
        results = found.setdefault(name, [])
        for seed in range(args.seeds):
            path = args.runs / args.name / name / f"seed-{seed}"
            results.append(
                measure(args.data, path, spec.split(","), args.minutes, seed, args.compare)
            )
            print(name, seed, auroc_of(results[-1]), flush=True)
        write(args.out / f"{args.name}.md", args, found)


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


def auroc_of(result: dict) -> str:
    return with_interval(result["metrics"]["auroc"], result["metrics"]["auroc_ci"])


def with_interval(value: float, interval: list[float], digits: int = 4) -> str:
    return f"{value:.{digits}f} ({interval[0]:.{digits}f}-{interval[1]:.{digits}f})"


def write(path: Path, args: argparse.Namespace, found: dict[str, list[dict]]) -> None:
    """Write the page of the variants so far: a column for each, a row for each measure."""
    variants = " ".join(f"--variant {v}" for v in args.variant)
    more = f" --reach {args.reach}" if args.reach is not None else ""
    more += "" if args.compare else " --no-compare"
    question = "How well are the diseased of the test set found, and where does the map point?"
    options = (
        f"--data DATA --name {args.name} --minutes {args.minutes:g} --seeds {args.seeds}"
        f" {variants}{more}"
    )
    lines = [
        *head(args.name.replace("-", " ").capitalize(), question, "detection.py", options),
        f"| mean (sd) of {args.seeds} | {' | '.join(found)} |",
        "|" + " --- |" * (len(found) + 1),
    ]
    columns = [column(results, found[next(iter(found))], args) for results in found.values()]
    for measure in columns[0]:
        cells = [of.get(measure, "") for of in columns]
        if any(cells):
            lines.append(f"| {measure} | {' | '.join(cells)} |")
    write_page(path, lines)


def column(results: list[dict], first: list[dict], args: argparse.Namespace) -> dict[str, str]:
    """Cells of a variant by measure, "" where it was not measured."""
    aurocs = [r["metrics"]["auroc"] for r in results]
    cells = {"AUROC": mean(aurocs, ".4f")}
    if results is not first:
        cells["AUROC, from the first variant"] = mean(
            np.subtract(aurocs, [r["metrics"]["auroc"] for r in first]), "+.3f"
        )
    for seed, result in enumerate(results):
        cells[f"AUROC of seed {seed} (95 %)"] = auroc_of(result)
    for rule in RULES if args.compare else ():
        cells[f"AUROC lost by {rule}"] = mean([lost(result, rule) for result in results])
    for key, name in MEASURES.items():
        cells[name] = mean([r["metrics"].get(key) for r in results])
    shares = [r["selection"].get("diseased_share") for r in results]
    cells["share of diseased in A, estimated"] = mean(shares, ".2f")
    last = [result["log"][-1] for result in results]
    cells["steps"] = ", ".join(str(line["step"]) for line in last)
    cells["seconds"] = ", ".join(f"{line['seconds']:.0f}" for line in last)
    if args.reach is not None:
        cells[f"steps / seconds to AUROC {args.reach}"] = ", ".join(
            first_reaching(result, args.reach) for result in results
        )
    return cells


def mean(values: Sequence[float | None], form: str = ".3f") -> str:
    """Mean and standard deviation, "" where a value is missing."""
    if None in list(values):
        return ""
    numbers = np.array(values, dtype=np.float64)
    spread = f" ({np.std(numbers, ddof=1):{form.strip('+')}})" if len(numbers) > 1 else ""
    return f"{np.mean(numbers):{form}}{spread}"


def lost(result: dict, rule: str) -> float | None:
    """How far the pick of a rule lies below the best of all checkpoints, weights and scores."""
    best, *others = result["compared"]["rows"]
    found = {row["rule"].partition(",")[0]: best["auroc"] - row["auroc"] for row in others}
    return found.get(rule)


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


if __name__ == "__main__":
    main()
