"""How much disease the mixed set must hold, and how large and clean the sets must be.

    OMP_NUM_THREADS=1 python benchmarks/set_composition.py --set tumours=DIR/lgg_flair/dev.csv \\
        --set chests=DIR/nih_boxes/dev.csv,data.equalize=true

Draws healthy and mixed sets of many compositions from the labelled images of a manifest's sets,
fits a detector to each, and scores the same test images. Labels make the sets; no detector sees
them. Writes docs/results/set-composition.md and .png.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from a2bgan import Detector
from a2bgan.data.manifest import Manifest, Row, read_manifest
from a2bgan.files.markdown import table_head, table_row
from result_page import as_settings, head, script_parser, write_page

VARIED: dict[str, tuple[float, ...]] = {
    "share of diseased in A": (0, 0.1, 0.25, 0.5, 1),
    "size of A, of what there is": (0.125, 0.25, 0.5, 1),
    "size of B, of what there is": (0.125, 0.25, 0.5, 1),
    "share of diseased in B": (0, 0.05, 0.1, 0.2),
}
Aurocs = dict[str, dict[float, list[float]]]
"""Test AUROCs of all draws, by what is varied and its value."""


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--set", action="append", required=True, help="NAME=MANIFEST[,key=value]")
    parser.add_argument("--preset", default="probe")
    parser.add_argument("--draws", type=int, default=3, help="random sets of each composition")
    args = parser.parse_args()
    found = {spec.partition("=")[0]: aurocs(spec, args) for spec in args.set}
    write_page(args.out / "set-composition.md", page(found, args))
    plot(found).savefig(args.out / "set-composition.png", dpi=120)


def aurocs(spec: str, args: argparse.Namespace) -> Aurocs:
    name, _, rest = spec.partition("=")
    path, *settings = rest.split(",")
    manifest = read_manifest(Path(path))
    found: Aurocs = {}
    for axis, values in VARIED.items():
        found[axis] = {}
        for value in values:
            drawn = [draw(manifest, axis, value, seed) for seed in range(args.draws)]
            found[axis][value] = [
                auroc(Detector(args.preset, settings=as_settings(settings)), *sets, manifest)
                for sets in drawn
            ]
            print(name, axis, value, found[axis][value], flush=True)
    return found


def draw(manifest: Manifest, axis: str, value: float, seed: int) -> tuple[list[Row], list[Row]]:
    """The sets B and A of a composition; each value is drawn from the same order of images.

    Unless it is varied, B is all there is and half of A diseased; A has as many images as can be
    had with every share.
    """
    rng = np.random.default_rng(seed)
    healthy = shuffled(manifest.split("healthy"), rng)
    normal = shuffled([row for row in manifest.split("mixed") if row.label == 0], rng)
    abnormal = shuffled([row for row in manifest.split("mixed") if row.label == 1], rng)
    size, share = min(len(normal), len(abnormal)), 0.5
    if axis.startswith("share of diseased in A"):
        share = value
    elif axis.startswith("size of A"):
        size = round(2 * size * value)
    elif axis.startswith("size of B"):
        healthy = healthy[: round(len(healthy) * value)]
    else:
        # What is sick in B comes from other patients than what is sick in A.
        patients = list(dict.fromkeys(row.patient_id for row in abnormal))
        of_b = set(patients[: len(patients) // 2])
        sick = [row for row in abnormal if row.patient_id in of_b]
        abnormal = [row for row in abnormal if row.patient_id not in of_b]
        count = min(round(len(healthy) * value), len(sick))
        healthy = healthy[: len(healthy) - count] + sick[:count]
        normal = [row for row in normal if row.patient_id not in of_b]
        size = 2 * min(len(normal), len(abnormal), size // 2)
    diseased = round(size * share)
    return healthy, normal[: size - diseased] + abnormal[:diseased]


def shuffled(rows: Sequence[Row], rng: np.random.Generator) -> list[Row]:
    return [rows[i] for i in rng.permutation(len(rows))]


def auroc(detector: Detector, healthy: list[Row], mixed: list[Row], manifest: Manifest) -> float:
    detector.fit(
        [row.path for row in healthy],
        [row.path for row in mixed],
        healthy_patients=[row.patient_id for row in healthy],
        mixed_patients=[row.patient_id for row in mixed],
        progress=False,
    )
    tested = [row for row in manifest.split("test") if row.label is not None]
    return detector.score([row.path for row in tested], [row.label for row in tested])


def page(found: dict[str, Aurocs], args: argparse.Namespace) -> list[str]:
    shown = " ".join(f"--set {name}=..." for name in found)
    question = (
        "How much disease must the mixed set hold, how large must the sets be, and how clean the "
        "healthy one?"
    )
    options = f"--preset {args.preset} --draws {args.draws} {shown}"
    lines = [
        *head("What the sets must hold", question, "set_composition.py", options),
        f"Test AUROC on development sets, mean and range of {args.draws} random draws.",
        "",
        *table_head(("varied", "value", *found)),
    ]
    for axis, values in VARIED.items():
        for value in values:
            each = [of[axis][value] for of in found.values()]
            cells = [f"{np.mean(a):.3f} ({min(a):.2f}-{max(a):.2f})" for a in each]
            lines.append(table_row((axis, f"{value:.0%}", *cells)))
    return [*lines, "", "![AUROC against each](set-composition.png)"]


def plot(found: dict[str, Aurocs]) -> Figure:
    """AUROC against what is varied: the mean as a line, each draw as a dot."""
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    panels = figure.subplots(1, len(VARIED), sharey=True)
    for axes, axis in zip(panels, VARIED, strict=True):
        for number, (name, of) in enumerate(found.items()):
            shares = [100 * value for value in of[axis]]
            means = [float(np.mean(each)) for each in of[axis].values()]
            axes.plot(shares, means, "-", color=f"C{number}", label=name)
            for share, each in zip(shares, of[axis].values(), strict=True):
                axes.plot([share] * len(each), each, ".", color=f"C{number}", markersize=4)
        axes.axhline(0.5, color="#aaaaaa", linewidth=0.8, linestyle=":")
        axes.set_xlabel(f"{axis}, %")
    panels[0].set_ylabel("test AUROC (0.5: chance)")
    panels[-1].legend(frameon=False)
    return figure


if __name__ == "__main__":
    main()
