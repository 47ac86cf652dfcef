"""How much disease a mixed set must hold, and how large the sets must be.

    python benchmarks/mixed_set.py --images DIR --minutes 3 --seeds 1

Makes simulated squares from a folder of healthy images in many compositions: the share of diseased
in A, the size of A, the size of B, each varied while the others stay (4,000 healthy; 3,000 mixed,
30 % of them diseased; 1,500 + 1,500 test images). Runs `a2bgan benchmark` on each, which goes on
where it was stopped; methods that learn from B alone once for each B. Prints a table and writes
docs/results/mixed-set.md and mixed-set.png.
"""

import argparse
from pathlib import Path

from matplotlib.figure import Figure

from a2bgan.data.generate.squares import simulate_squares
from a2bgan.files.markdown import table_head
from a2bgan.training.config import load_config
from benchmark_cells import aurocs, command, study_parser
from result_page import write_page

HEALTHY, MIXED, SHARE = 4000, 3000, 0.3
AXES: dict[str, tuple[float, ...]] = {
    "share of diseased in A": (0.0, 0.1, 0.3, 0.5, 1.0),
    "images in A": (50, 300, MIXED),
    "images in B": (50, 300, HEALTHY),
}
Found = dict[str, dict[float, dict[str, str]]]
"""AUROC cells by axis, value and method."""


def main() -> None:
    parser = study_parser(__doc__, minutes=3, seeds=1, runs="runs/mixed-set")
    parser.add_argument("--images", type=Path, required=True)
    args = parser.parse_args()
    found = {
        axis: {value: measure(args, axis, value) for value in values}
        for axis, values in AXES.items()
    }
    lines = table(args, found)
    print(*lines, sep="\n")
    write_page(args.out / "mixed-set.md", lines)
    plot(found).savefig(args.out / "mixed-set.png", dpi=120)


def measure(args: argparse.Namespace, axis: str, value: float) -> dict[str, str]:
    """The AUROC cell of every method at one composition that it can tell from the others."""
    share = value if axis == "share of diseased in A" else SHARE
    mixed = int(value) if axis == "images in A" else MIXED
    healthy = int(value) if axis == "images in B" else HEALTHY
    diseased = round(share * mixed)
    # One folder for one composition, whatever axis it lies on: nothing is trained twice.
    folder = args.runs / f"{healthy}-{mixed - diseased}-{diseased}"
    if not (folder / "data").exists():
        simulate_squares(
            args.images,
            folder / "data",
            size=64,
            square=20,
            healthy=healthy,
            mixed_normal=mixed - diseased,
            mixed_abnormal=diseased,
            test_normal=1500,
            test_abnormal=1500,
        )
    only_a_differs = healthy == HEALTHY and (share, mixed) != (SHARE, MIXED)
    names = [
        name
        for name in args.methods.split(",")
        if load_config(name).facts.uses_mixed or not only_a_differs
    ]
    data, out = folder / "data/manifest.csv", folder / "benchmark"
    return aurocs(args, data, out, methods=",".join(names))


def table(args: argparse.Namespace, found: Found) -> list[str]:
    methods = all_methods(found)
    lines = [
        "# How large the sets must be",
        "",
        "How much disease must the mixed set hold, and how many images must each set have?",
        "",
        command(args, "mixed_set.py", own=" --images DIR"),
        "",
        f"Simulated squares, 64 x 64; {HEALTHY} healthy and {MIXED} mixed images, {SHARE:.0%} of"
        " them diseased, unless varied. Test AUROC and its interval over patients, selected without"
        " labels. -: this method does not see A, so nothing changes.",
        "",
        *table_head(["varied", "value", *methods]),
    ]
    for axis, cells in found.items():
        for value, row in cells.items():
            shown = f"{value:.0%}" if value <= 1 else f"{value:.0f}"
            shown_aurocs = " | ".join(row.get(method, "-") or "failed" for method in methods)
            lines.append(f"| {axis} | {shown} | {shown_aurocs} |")
    return lines


def plot(found: Found) -> Figure:
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    panels = figure.subplots(1, len(found), sharey=True)
    for axes, (axis, cells) in zip(panels, found.items(), strict=True):
        for method in all_methods(found):
            known = {value: row[method] for value, row in cells.items() if row.get(method)}
            means = [float(cell.split()[0]) for cell in known.values()]
            axes.plot(list(known), means, "o-", markersize=3, label=method)
        if max(cells) > 1:
            axes.set_xscale("log")
        axes.axhline(0.5, color="#aaaaaa", linewidth=0.8, linestyle=":")
        axes.set_xlabel(axis)
    panels[0].set_ylabel("test AUROC")
    panels[-1].legend(frameon=False, fontsize=7)
    return figure


def all_methods(found: Found) -> list[str]:
    return sorted({method for cells in found.values() for row in cells.values() for method in row})


if __name__ == "__main__":
    main()
