"""What if the mixed set's diseases are not the test's? The weak spot of learning from a mixed set.

    python benchmarks/other_diseases.py --minutes 4 --seeds 3 [--chestxray8 DIR]

Phantoms with focal opacities in A, tested on enlarged hearts, beside phantoms with enlarged hearts
in both. With --chestxray8, a folder with pneumonia.csv and covid.csv: pneumonia in A, COVID-19 in
the test, beside COVID-19 in both. Prints a table and writes docs/results/other-diseases.md.
"""

import shutil
from pathlib import Path

from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.data.manifest import Manifest, Row, read_manifest
from a2bgan.files.markdown import table_head
from benchmark_cells import aurocs, command, study_parser
from result_page import write_page


def main() -> None:
    parser = study_parser(__doc__, minutes=4, seeds=3, runs="runs/other-diseases")
    parser.add_argument("--chestxray8", type=Path)
    args = parser.parse_args()
    sets = phantoms(args.runs)
    if args.chestxray8 is not None:
        sets |= radiographs(args.chestxray8, args.runs)
    found = {}
    for name, data in sets.items():
        out = args.runs / f"benchmark-{name.replace(', ', '-').replace(' ', '-')}"
        found[name] = aurocs(args, data, out)
    methods = sorted({method for row in found.values() for method in row})
    lines = [
        "# Other diseases in the test than in the mixed set",
        "",
        "Are diseases found that the mixed set does not hold?",
        "",
        command(args, "other_diseases.py", own=" --chestxray8 DIR" if args.chestxray8 else ""),
        "",
        "Test AUROC and its interval over patients, selected without labels. COVID-19 images come"
        " from other hospitals: part of any separation is the source.",
        "",
        *table_head(["in A, in the test", *methods]),
    ]
    for name, row in found.items():
        lines.append(f"| {name} | {' | '.join(row.get(m) or 'failed' for m in methods)} |")
    print(*lines, sep="\n")
    write_page(args.out / "other-diseases.md", lines)


def phantoms(runs: Path) -> dict[str, Path]:
    """Two phantom sets with the same test images."""
    found = {}
    for name, kind in (("enlarged heart", "enlarged_heart"), ("focal opacity", "focal_opacity")):
        folder = runs / f"phantoms-{kind}"
        if not folder.exists():
            write_phantoms(folder, size=64, mixed_kinds=[kind], test_kinds=["enlarged_heart"])
        found[f"{name}, enlarged heart"] = folder / "manifest.csv"
    return found


def radiographs(folder: Path, runs: Path) -> dict[str, Path]:
    """COVID-19 in both, and pneumonia in A with COVID-19 in the test."""
    pneumonia, covid = (read_manifest(folder / f"{name}.csv") for name in ("pneumonia", "covid"))
    rows: list[Row] = [row for row in pneumonia.rows if row.split in ("healthy", "mixed")]
    rows += covid.split("test")
    crossed = runs / "pneumonia-covid" / "manifest.csv"
    if not crossed.exists():
        for row in rows:
            copy = crossed.parent / row.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(row.path, copy)
        Manifest(tuple(rows), covid.root).write(crossed)
    return {"COVID-19, COVID-19": folder / "covid.csv", "pneumonia, COVID-19": crossed}


if __name__ == "__main__":
    main()
