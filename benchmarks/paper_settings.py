"""Each method's preset against its paper's settings, in the same time on the same images.

    OMP_NUM_THREADS=1 python benchmarks/paper_settings.py --minutes 4 --seeds 3 \\
        --methods autoencoder,ganomaly,ddad --set tumours=DIR/lgg_flair/dev.csv

A fair comparison of methods needs presets that serve each of them. Trains PRESET and PRESET-paper,
whose size, widths, rates and batches are the paper's, and compares their AUROCs by DeLong's test on
the same patients. Held-out parts and the choice of the checkpoint are the same for both. Writes
docs/results/paper-settings.md. What was done is not repeated.
"""

import argparse
from pathlib import Path

import numpy as np

from a2bgan.detection.evaluate import read_scores
from a2bgan.detection.measures.delong import Comparison, compare_aurocs, holm
from a2bgan.files.markdown import table_head, table_row
from detection import measure
from result_page import head, script_parser, write_page

SAME = ("holdout.fraction=0.1", "selection.by=aucp", "selection.images=200")


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    parser.add_argument("--methods", required=True, help="presets, with commas between")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--runs", type=Path, default=Path("runs/paper-settings"))
    args = parser.parse_args()
    methods = args.methods.split(",")
    pairs = [(spec, method) for spec in args.set for method in methods]
    found = [compared(spec, method, args) for spec, method in pairs]
    lines = []
    corrected = holm([one.p_value for one in found])
    for (spec, method), one, p_value in zip(pairs, found, corrected, strict=True):
        low, high = one.interval
        ours, paper = (f"{auroc:.3f}" for auroc in one.aurocs)
        difference = f"{one.difference:+.3f} ({low:+.3f} to {high:+.3f})"
        name = spec.partition("=")[0]
        lines.append(table_row((name, method, ours, paper, difference, f"{p_value:.2g}")))
        print(lines[-1], flush=True)
    shown = " ".join(f"--set {spec.partition('=')[0]}=..." for spec in args.set)
    trainings = f"mean of {args.seeds} trainings" if args.seeds > 1 else "one training each"
    question = "Does each method get settings that serve it, in the time that all get?"
    options = f"--minutes {args.minutes:g} --seeds {args.seeds} --methods {args.methods} {shown}"
    page = [
        *head("Presets against their papers' settings", question, "paper_settings.py", options),
        f"AUROC on test images of development sets, {trainings}; p by DeLong's test, corrected by "
        "Holm's method.",
        "",
        *table_head(("set", "method", "preset", "paper's settings", "difference (95 %)", "p")),
    ]
    write_page(args.out / "paper-settings.md", [*page, *lines])


def compared(spec: str, method: str, args: argparse.Namespace) -> Comparison:
    """Compare the trainings of both presets, after those that were not done before."""
    name, _, rest = spec.partition("=")
    path, *settings = rest.split(",")
    scores: dict[str, list[np.ndarray]] = {method: [], f"{method}-paper": []}
    for preset, of in scores.items():
        for seed in range(args.seeds):
            run = args.runs / name / preset / f"seed-{seed}"
            measure(path, run, [preset, *SAME, *settings], args.minutes, seed, False)
            _, labels, each, patients = read_scores(run / "metrics-scores.csv")
            of.append(each)
    ours, paper = map(np.stack, scores.values())
    return compare_aurocs(labels, ours, paper, patients)


if __name__ == "__main__":
    main()
