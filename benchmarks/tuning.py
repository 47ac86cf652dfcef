"""Try the same number of settings for every method on development sets, and say which is best.

    python benchmarks/tuning.py --minutes 1.5 --set tumours=DIR/lgg_flair/dev.csv \\
        --set chests=DIR/nih_boxes/dev.csv,data.equalize=true

Each method gets three settings, the trained ones all the same time. The best is the one with the
highest mean AUROC over the sets; the presets hold it. Writes docs/results/tuning.md. Runs are kept
under --runs, and what was done is not repeated; --only trains some of the methods and writes no
page.
"""

import argparse
from pathlib import Path

import numpy as np

from a2bgan.files.markdown import table_head, table_row
from detection import measure
from result_page import head, script_parser, write_page

AUGMENTED = (
    "train.augment.shift=0.125",
    "train.augment.brightness=0.2",
    "train.augment.contrast=0.2",
)
FLIPPED = ("train.augment.shift=0", "train.augment.brightness=0", "train.augment.contrast=0")

TRAINED = {
    "64, augmented": ("data.size=64", *AUGMENTED),
    "64, flipped only": ("data.size=64", *FLIPPED),
    "128, flipped only": ("data.size=128", *FLIPPED),
}
"""For methods that learn from pixels."""

LOOKED_AT = {
    "64": ("data.size=64", "method.input_size=128"),
    "128": ("data.size=128", "method.input_size=128"),
    "256": ("data.size=256", "method.input_size=256"),
}
"""For methods that read frozen features: the side of the images."""

TRIED = {
    **dict.fromkeys(("autoencoder", "vae", "ganomaly", "fanogan", "alad"), TRAINED),
    **dict.fromkeys(("ddad", "brainomaly"), TRAINED),
    "pu": {
        "64, augmented": (*LOOKED_AT["64"], *AUGMENTED),
        "64, flipped only": (*LOOKED_AT["64"], *FLIPPED),
        "256, flipped only": (*LOOKED_AT["256"], *FLIPPED),
    },
    **dict.fromkeys(("padim", "patchcore", "probe"), LOOKED_AT),
}


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--only", help="methods, with commas between")
    parser.add_argument("--runs", type=Path, default=Path("runs/tuning"))
    args = parser.parse_args()
    methods = args.only.split(",") if args.only else list(TRIED)
    names = [spec.partition("=")[0] for spec in args.set]
    lines = []
    for method in methods:
        found = {
            tried: [auroc(args, spec, method, tried) for spec in args.set]
            for tried in TRIED[method]
        }
        best = max(found, key=lambda tried: float(np.mean(found[tried])))
        for tried, aurocs in found.items():
            values = [f"{value:.3f}" for value in (*aurocs, float(np.mean(aurocs)))]
            lines.append(table_row([method, tried, *values, "best" if tried == best else ""]))
            print(lines[-1], flush=True)
    if args.only:
        return
    shown = " ".join(f"--set {name}=..." for name in names)
    question = "Which of three settings is best for each method, on images that no test holds?"
    options = f"--minutes {args.minutes:g} {shown}"
    page = head("Settings of each method", question, "tuning.py", options)
    page += [*table_head(("preset", "setting", *names, "mean AUROC", "")), *lines]
    write_page(args.out / "tuning.md", page)


def auroc(args: argparse.Namespace, spec: str, method: str, tried: str) -> float:
    """Test AUROC on a development set, after training as far as that was not done before."""
    name, _, rest = spec.partition("=")
    path, *settings = rest.split(",")
    run = args.runs / name / method / tried.replace(",", "").replace(" ", "-")
    found = measure(path, run, [method, *TRIED[method][tried], *settings], args.minutes, 0, False)
    return float(found["metrics"]["auroc"])


if __name__ == "__main__":
    main()
