"""Train variants of a configuration on one data set, several seeds each, and compare detection.

    python benchmarks/detection.py --data DIR/manifest.csv --name simulated --minutes 8 --seeds 3 \\
        --variant fast=fast \\
        --variant paper=paper-simulated,data.size=64,method.translator.width=16

Each variant is NAME=PRESET[,key=value...]. Prints a table and writes it to
docs/results/NAME.md: AUROC of the difference map on the test split with its interval for every
seed, pixel measures where there are masks, and steps and seconds until a checkpoint's AUROC first
reached --reach (every checkpoint is scored for that; nothing is chosen by it). Runs are kept
under --runs; a run that was evaluated is not repeated, one that was stopped goes on.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from a2bgan.data.cache import load_images
from a2bgan.data.manifest import Manifest, open_data
from a2bgan.detection.detect import detect
from a2bgan.detection.evaluate import evaluate
from a2bgan.detection.metrics import auroc
from a2bgan.detection.trained import load_trained
from a2bgan.training.checkpoint import list_checkpoints, read_position
from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.run_folder import RunFolder

COLUMNS = ("auroc", "auprc", "pixel_auroc", "pixel_ap", "aupro")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", required=True)
    parser.add_argument("--name", required=True)
    parser.add_argument("--variant", action="append", required=True)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--reach", type=float, help="AUROC whose first checkpoint is reported")
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmarks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    args = parser.parse_args()
    manifest = open_data(args.data)
    lines = []
    for variant in args.variant:
        name, _, spec = variant.partition("=")
        for seed in range(args.seeds):
            run = args.runs / args.name / name / f"seed-{seed}"
            metrics = run_once(manifest, run, spec.split(","), args.minutes, seed, args.reach)
            lines.append(row(name, seed, metrics, args.reach))
            print(lines[-1], flush=True)
        lines.append(summary(name, args.runs / args.name / name, args.seeds))
    write(args.out / f"{args.name}.md", args, lines)


def run_once(
    manifest: Manifest,
    path: Path,
    spec: list[str],
    minutes: float,
    seed: int,
    reach: float | None,
) -> dict:
    """Train and evaluate one seed, unless that was done before; its metrics."""
    done = path / "metrics.json"
    if done.is_file():
        return json.loads(done.read_text())
    preset, *settings = spec
    settings += [f"train.minutes={minutes}", f"train.seed={seed}", "train.checkpoint_every=250"]
    config = load_config(preset, None, settings)
    resume = (path / "config.yaml").is_file()
    run = RunFolder.open(path) if resume else RunFolder.create(path, config)
    run.keep_manifest(manifest)
    healthy, mixed = (images(manifest, split, config)[0] for split in ("healthy", "mixed"))
    outcome = train(config, healthy, mixed, run, resume=resume)
    metrics = evaluate(load_trained(run), manifest).metrics
    metrics |= {"steps": outcome.position.step, "seconds": outcome.position.seconds}
    if reach is not None:
        metrics["reached"] = first_reaching(run, manifest, reach)
    done.write_text(json.dumps(metrics, indent=2) + "\n")
    return metrics


def images(manifest: Manifest, split: str, config) -> tuple[np.ndarray, np.ndarray]:
    rows = manifest.split(split)
    loaded = load_images([r.path for r in rows], [r.name for r in rows], config.data)
    return loaded.images, np.array([rows[i].label for i in loaded.index])


def first_reaching(run: RunFolder, manifest: Manifest, reach: float) -> list[float] | None:
    """(steps, seconds) at the first checkpoint whose test AUROC is at least ``reach``."""
    pictures, labels = images(manifest, "test", run.config())
    for checkpoint in list_checkpoints(run.checkpoints):
        method = load_trained(run, checkpoint.name).method
        scores = np.concatenate([batch.scores for batch in detect(method, pictures)])
        if (auroc(labels, scores) or 0) >= reach:
            position = read_position(checkpoint)
            return [position.step, position.seconds]
    return None


def row(name: str, seed: int, metrics: dict, reach: float | None) -> str:
    low, high = metrics["auroc_ci"]
    cells = [name, str(seed), f"{metrics['auroc']:.4f} ({low:.4f}-{high:.4f})"]
    cells += [f"{metrics[c]:.4f}" if metrics.get(c) is not None else "" for c in COLUMNS[1:]]
    cells += [str(metrics["steps"]), f"{metrics['seconds']:.0f}"]
    if reach is not None:
        reached = metrics.get("reached")
        cells.append("not reached" if reached is None else f"{reached[0]} / {reached[1]:.0f}")
    return "| " + " | ".join(cells) + " |"


def summary(name: str, runs: Path, seeds: int) -> str:
    values = [
        json.loads((runs / f"seed-{s}" / "metrics.json").read_text())["auroc"] for s in range(seeds)
    ]
    return f"| **{name}** | all | **{np.mean(values):.4f}** (sd {np.std(values, ddof=1):.4f}) |"


def write(path: Path, args: argparse.Namespace, lines: list[str]) -> None:
    head = ["variant", "seed", "AUROC (95 % interval)", *COLUMNS[1:], "steps", "seconds"]
    if args.reach is not None:
        head.append(f"steps / seconds to AUROC {args.reach}")
    variants = " ".join(f"--variant {v}" for v in args.variant)
    text = [
        f"# {args.name}",
        "",
        f"`python benchmarks/detection.py --data ... --name {args.name} --minutes {args.minutes:g}"
        f" --seeds {args.seeds} {variants}`"
        + (f" `--reach {args.reach}`" if args.reach is not None else ""),
        "",
        "Score: mean of the difference map at the last checkpoint. Intervals: bootstrap over"
        f" patients. Seconds: training alone, on {torch.get_num_threads()} CPU thread(s).",
        "",
        "| " + " | ".join(head) + " |",
        "|" + " --- |" * len(head),
        *lines,
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
