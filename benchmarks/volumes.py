"""Volumes: patients against slices, and whether maps come back to the right place.

    python benchmarks/volumes.py --minutes 8

Makes phantom heads (`a2bgan data phantom --volumes`), trains on axial slices, evaluates, scores the
test volumes with `a2bgan predict`, and compares every NIfTI map that it writes with the lesion mask
in the volume's own voxels. Of each kind of affine: the median AUROC of voxels inside the head; how
often the mean place of the map's highest 0.5 % of voxels, of those within 20 mm of the highest, is
within 12 mm of a lesion; and the same AUROC for maps that were wrongly turned over along one stored
axis. Prints tables and writes docs/results/volumes.md.
"""

import argparse
import csv
import json
from collections import defaultdict
from pathlib import Path

import nibabel as nib
import numpy as np
from sklearn.metrics import roc_auc_score

from a2bgan.data.generate.phantom_volumes import AFFINES, write_phantom_volumes
from own_command import a2bgan
from result_page import script_parser, write_page

HEALTHY, MIXED, TEST = 100, 50, 25
SETTINGS = ("data.slices=[0.25, 0.8]", "data.skip_empty=0.2", "selection.images=25")
AIR = 150  # grey level: below it is air around the head
HIGHEST = 0.005


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--set", action="append", default=[], help="further settings")
    parser.add_argument("--runs", type=Path, default=Path("runs/volumes"))
    args = parser.parse_args()
    data, run, maps = (args.runs / name for name in ("data", "run", "maps"))
    if not data.exists():
        write_phantom_volumes(
            data, healthy=HEALTHY, mixed_normal=MIXED, mixed_abnormal=MIXED,
            test_normal=TEST, test_abnormal=TEST,
        )  # fmt: skip
    if not (run / "calibration.json").exists():
        options = [word for setting in (*SETTINGS, *args.set) for word in ("--set", setting)]
        a2bgan("train", "--data", data, "--out", run, "--preset", args.preset, "--overwrite",
                "--set", f"train.minutes={args.minutes:g}", *options)  # fmt: skip
    a2bgan("evaluate", run)
    rows = test_rows(data)
    a2bgan("predict", run, *(data / row["path"] for row in rows), "--out", maps, "--no-pictures")
    lines = report(args, run, rows, data, maps)
    print(*lines, sep="\n")
    write_page(args.out / "volumes.md", lines)


def test_rows(data: Path) -> list[dict[str, str]]:
    with (data / "manifest.csv").open(newline="") as file:
        return [row for row in csv.DictReader(file) if row["split"] == "test"]


def report(
    args: argparse.Namespace, run: Path, rows: list[dict[str, str]], data: Path, maps: Path
) -> list[str]:
    metrics = json.loads((run / "metrics.json").read_text())
    cells = [
        f"{metrics[name]:.3f} ({low:.3f}-{high:.3f})"
        for name in ("patient_auroc", "auroc")
        for low, high in [metrics[f"{name}_ci"]]
    ]
    lines = [
        "# Volumes",
        "",
        "How well are patients told apart, and do maps come back to the right voxels?",
        "",
        f"`python benchmarks/volumes.py --minutes {args.minutes:g} --preset {args.preset}"
        + "".join(f" --set {setting}" for setting in args.set)
        + "`",
        "",
        f"{HEALTHY} healthy, {MIXED} + {MIXED} mixed, {TEST} + {TEST} test phantom heads, axial "
        f"slices of 64 x 64; score {metrics['score']}, for patients {metrics['patient_score']}.",
        "",
        "| unit | AUROC (95 %) | normal | abnormal |",
        "| --- | --- | --- | --- |",
        f"| patients | {cells[0]} | {metrics['n_patients_normal']} "
        f"| {metrics['n_patients_abnormal']} |",
        f"| slices, abnormal where the mask has lesion | {cells[1]} | {metrics['n_normal']} "
        f"| {metrics['n_abnormal']} |",
        "",
        "Maps against lesion masks, in the volumes' own voxels. AUROC: median, of voxels inside "
        f"the head. In place: volumes whose highest {HIGHEST:.1%} of voxels lie within 12 mm of a "
        "lesion. Inverted: the AUROC with the map inverted along one axis, the best of three.",
        "",
        "| affine | volumes | AUROC | in place | inverted |",
        "| --- | --- | --- | --- | --- |",
    ]
    found: dict[str, list[tuple[float, bool, float]]] = defaultdict(list)
    for row in rows:
        if row["mask"]:
            found[row["affine"]].append(compare(data, row, maps))
    for kind in AFFINES:
        right, near, turned = zip(*found[kind], strict=True)
        lines.append(
            f"| {kind} | {len(right)} | {np.median(right):.3f} | {sum(near)} "
            f"| {np.median(turned):.3f} |"
        )
    return lines


def compare(data: Path, row: dict[str, str], maps: Path) -> tuple[float, bool, float]:
    """AUROC of a map's voxels, whether its highest lie at a lesion, and the AUROC turned over."""
    image = nib.load(data / row["path"])
    name = Path(row["path"]).name.removesuffix(".nii.gz")
    made = nib.load(maps / f"{name}_anomaly.nii.gz")
    if made.shape != image.shape or not np.array_equal(made.affine, image.affine):
        raise SystemExit(f"{row['path']}: its map has another grid")
    values, head = made.get_fdata(), image.get_fdata() > AIR
    lesion = nib.load(data / row["mask"]).get_fdata() > 0
    # Slices that were left out have no map.
    inside = head & (values != 0)

    def auroc(these: np.ndarray) -> float:
        return float(roc_auc_score(lesion[inside], these[inside]))

    highest = np.argwhere(values >= np.quantile(values[inside], 1 - HIGHEST))
    # Several lesions have their mean between them: the place of the highest voxel's neighbours.
    peak = np.argwhere(values == values.max())[0]
    spacing = nib.affines.voxel_sizes(image.affine)
    near = highest[np.linalg.norm((highest - peak) * spacing, axis=1) < 20]
    away = np.linalg.norm((np.argwhere(lesion) - near.mean(0)) * spacing, axis=1).min()
    turned = max(auroc(np.flip(values, axis)) for axis in range(3))
    return auroc(values), bool(away <= 12), turned


if __name__ == "__main__":
    main()
