"""What another scanner or exposure does to the scores and false alarms of a trained run.

    OMP_NUM_THREADS=1 python benchmarks/scanner_shift.py --run tumours=RUN --run chests=RUN

Changes the test images of each run as other devices would, scores them, and counts how many of the
healthy are flagged at p <= 0.05, and how many are called unfamiliar. Writes
docs/results/scanner-shift.md and .png.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.transform import resize

from a2bgan import Detector
from a2bgan.detection.measures.metrics import auroc
from a2bgan.files.markdown import table_head, table_row
from a2bgan.training.run_folder import RunFolder
from result_page import head, script_parser, write_page

RANDOM = np.random.default_rng(0)
Change = Callable[[np.ndarray], np.ndarray]
"""From and to an image (H, W) in [0, 1]."""


def coarser(image: np.ndarray) -> np.ndarray:
    small = resize(image, (image.shape[0] // 2, image.shape[1] // 2), anti_aliasing=True)
    return resize(small, image.shape, order=1)


def noisy(image: np.ndarray) -> np.ndarray:
    return image + RANDOM.normal(0, 0.05, image.shape)


CHANGES: dict[str, Change] = {
    "as it is": lambda image: image,
    "darker (gamma 1.25)": lambda image: image**1.25,
    "brighter (gamma 0.8)": lambda image: image**0.8,
    "less contrast (0.8)": lambda image: 0.5 + 0.8 * (image - 0.5),
    "blurred (sigma 1)": lambda image: gaussian_filter(image, 1),
    "half the resolution": coarser,
    "noise (0.05)": noisy,
    "turned negative": lambda image: 1 - image,
}
Found = tuple[float, float, float]
"""AUROC, share of the healthy flagged, share of all unfamiliar."""


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--run", action="append", required=True, help="NAME=RUN")
    args = parser.parse_args()
    found = {}
    for name, _, path in (spec.partition("=") for spec in args.run):
        found[name] = shifted(Path(path))
        print(name, found[name], flush=True)
    write_page(args.out / "scanner-shift.md", page(found))
    plot(found).savefig(args.out / "scanner-shift.png", dpi=120)


def shifted(path: Path) -> dict[str, Found]:
    """Measures of a run's test images under every change."""
    detector = Detector.load(path)
    rows = [row for row in RunFolder.open(path).manifest().split("test") if row.label is not None]
    labels = np.array([row.label for row in rows])
    images = [np.asarray(Image.open(row.path).convert("L")) / 255 for row in rows]
    found = {}
    for name, change in CHANGES.items():
        changed = [np.clip(change(image), 0, 1).astype(np.float32) for image in images]
        table = detector.to_frame(changed, patients=[row.patient_id for row in rows])
        flagged = table["p_value"].to_numpy()[labels == 0] <= 0.05
        found[name] = (
            auroc(labels, table["score"].to_numpy()),
            float(np.mean(flagged)),
            float(np.mean(table["unfamiliar"].to_numpy(dtype=bool))),
        )
    return found


def page(found: dict[str, dict[str, Found]]) -> list[str]:
    shown = " ".join(f"--run {name}=RUN" for name in found)
    question = "What do scores and false alarms do when new images look different?"
    lines = [
        *head("Another scanner", question, "scanner_shift.py", shown),
        "AUROC; share of healthy test images flagged at p <= 0.05; share of all test images that "
        "`predict` calls unfamiliar.",
        "",
        *table_head(("change", *found)),
    ]
    for name in CHANGES:
        cells = (of[name] for of in found.values())
        lines.append(table_row((name, *(f"{a:.3f}, {f:.0%}, {u:.0%}" for a, f, u in cells))))
    return [*lines, "", "![False alarms under each change](scanner-shift.png)"]


def plot(found: dict[str, dict[str, Found]]) -> Figure:
    """Healthy images flagged under each change, as bars, and the rate that was asked for."""
    figure = Figure(figsize=(7, 3.4), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / len(found)
    for number, (name, of) in enumerate(found.items()):
        places = np.arange(len(CHANGES)) + number * height
        axes.barh(places, [100 * of[change][1] for change in CHANGES], height, label=name)
    axes.set_yticks(np.arange(len(CHANGES)) + 0.4 - height / 2, CHANGES)
    axes.invert_yaxis()
    axes.axvline(5, color="black", linewidth=0.8, linestyle=":")
    axes.set_xlabel("healthy images flagged, % (dotted: the 5 % asked for)")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


if __name__ == "__main__":
    main()
