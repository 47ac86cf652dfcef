"""Whether diseases are found that the mixed set does not hold: each set's detector on every test.

    OMP_NUM_THREADS=1 python benchmarks/other_diseases.py --setting data.equalize=true \\
        --set pneumonia=DIR/nih_boxes/pneumonia.csv \\
        --set pneumothorax=DIR/nih_boxes/pneumothorax.csv \\
        --set cardiomegaly=DIR/nih_boxes/cardiomegaly.csv

Fits a detector to the healthy and mixed images of each set, and scores the test images of all sets,
without patients that it was fitted on. Writes docs/results/other-diseases.md and .png.
"""

import argparse
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from a2bgan import Detector
from a2bgan.data.manifest import Manifest, read_manifest
from a2bgan.files.markdown import table_head, table_row
from result_page import as_settings, head, script_parser, write_page


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST")
    parser.add_argument("--setting", action="append", default=[], help="key=value of the detector")
    parser.add_argument("--preset", default="probe")
    args = parser.parse_args()
    sets = {
        name: read_manifest(Path(path)) for name, _, path in (s.partition("=") for s in args.set)
    }
    found = {}
    for name, manifest in sets.items():
        detector = fitted(manifest, args)
        found[name] = [tested(detector, manifest, other) for other in sets.values()]
        print(name, found[name], flush=True)
    write_page(args.out / "other-diseases.md", page(found, args))
    plot(found).savefig(args.out / "other-diseases.png", dpi=120)


def fitted(manifest: Manifest, args: argparse.Namespace) -> Detector:
    healthy, mixed = manifest.split("healthy"), manifest.split("mixed")
    return Detector(args.preset, settings=as_settings(args.setting)).fit(
        [row.path for row in healthy],
        [row.path for row in mixed],
        healthy_patients=[row.patient_id for row in healthy],
        mixed_patients=[row.patient_id for row in mixed],
        progress=False,
    )


def tested(detector: Detector, fitted_on: Manifest, other: Manifest) -> tuple[float, float, float]:
    """AUROC on another set's test images, and its 95 % interval."""
    known = {r.patient_id for s in ("healthy", "mixed") for r in fitted_on.split(s)}
    rows = [r for r in other.split("test") if r.label is not None and r.patient_id not in known]
    metrics = detector.evaluate(
        [row.path for row in rows],
        [row.label for row in rows],
        patients=[row.patient_id for row in rows],
    ).metrics
    low, high = metrics["auroc_ci"] or (float("nan"),) * 2
    return metrics["auroc"], low, high


def page(found: dict[str, list[tuple[float, float, float]]], args: argparse.Namespace) -> list[str]:
    shown = " ".join(
        [*(f"--setting {s}" for s in args.setting), *(f"--set {n}=..." for n in found)]
    )
    title = "Other diseases in the test than in the mixed set"
    question = "Are diseases found that the mixed set does not hold?"
    lines = [
        *head(title, question, "other_diseases.py", f"--preset {args.preset} {shown}"),
        "Test AUROC (95 % interval over patients). Row: the disease in the mixed set; column: that "
        "of the test.",
        "",
        *table_head(("in A", *found)),
    ]
    for name, cells in found.items():
        lines.append(
            table_row((name, *(f"{a:.3f} ({low:.2f}-{high:.2f})" for a, low, high in cells)))
        )
    return [*lines, "", "![AUROC of each pair](other-diseases.png)"]


def plot(found: dict[str, list[tuple[float, float, float]]]) -> Figure:
    """A square for each pair of diseases, darker where more is found."""
    values = np.array([[auroc for auroc, _, _ in cells] for cells in found.values()])
    figure = Figure(figsize=(4.6, 3.8), layout="constrained")
    axes = figure.subplots()
    axes.imshow(values, cmap="Greens", vmin=0.5, vmax=1)
    for (i, j), value in np.ndenumerate(values):
        colour = "white" if value > 0.8 else "black"
        axes.text(j, i, f"{value:.2f}", ha="center", va="center", color=colour)
    axes.set_xticks(range(len(found)), found)
    axes.set_yticks(range(len(found)), found)
    axes.set_xlabel("disease of the test")
    axes.set_ylabel("disease in the mixed set")
    return figure


if __name__ == "__main__":
    main()
