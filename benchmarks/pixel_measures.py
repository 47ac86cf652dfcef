"""Time and memory of the measures of maps, and whether they agree with sorting all pixels.

    python benchmarks/pixel_measures.py

Maps of 256 x 256 are generated one by one, every second with a lesion, and measured as `evaluate`
does it; then, where they fit, by holding all of them and sorting their pixels. Each way has a
process of its own, and its peak memory is that beyond the process's before it began. Prints a table
and writes it to docs/results/pixel-measures.md.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

from a2bgan.detection.lesion_measures import LesionMeasures
from a2bgan.detection.measures.regions import label_regions
from a2bgan.detection.measures.stored_mask import StoredMask
from result_page import write_page

SIDE = 256
COUNTS = (250, 1_000, 10_000)
NAMES = ("pixel_auroc", "pixel_ap", "aupro")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sorted-up-to", type=int, default=1_000)
    parser.add_argument("--out", type=Path, default=Path("docs/results/pixel-measures.md"))
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        way, count = args.child
        print(json.dumps(measured(WAYS[way], int(count))))
        return
    lines = [
        "# Measures of maps",
        "",
        f"`python benchmarks/pixel_measures.py --sorted-up-to {args.sorted_up_to}`",
        "",
        f"Maps of {SIDE} x {SIDE}, half of them with a lesion; processor seconds of measuring, "
        "without making the maps. *One by one* are all measures of `evaluate`, for the map and for "
        "position alone; *sorted* are pixel AUROC, pixel AP and AUPRO of the map alone.",
        "",
        "| maps | one by one, s | peak memory, MB | sorted, s | peak memory, MB | "
        "greatest difference |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for count in COUNTS:
        one = in_own_process("one by one", count)
        cells = [f"{count:,}", f"{one['seconds']:.1f}", f"{one['peak_mb']:,.0f}"]
        if count <= args.sorted_up_to:
            other = in_own_process("sorted", count)
            worst = max(abs(one["values"][name] - other["values"][name]) for name in NAMES)
            cells += [f"{other['seconds']:.1f}", f"{other['peak_mb']:,.0f}", f"{worst:.1e}"]
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    write_page(args.out, lines)


def in_own_process(way: str, count: int) -> dict:
    command = [sys.executable, __file__, "--child", way, str(count)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)


def measured(way: Callable[[int], tuple[float, dict]], count: int) -> dict:
    before = peak()
    seconds, values = way(count)
    found = {name: values[name] for name in NAMES}
    return {"seconds": seconds, "peak_mb": peak() - before, "values": found}


def peak() -> float:
    unit = 1e6 if sys.platform == "darwin" else 1e3
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def masks(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    for k in range(count):
        y, x = rng.normal(SIDE / 2, SIDE / 8, 2)
        a, b = rng.uniform(5, 40, 2)
        found = ((rows - y) / a) ** 2 + ((columns - x) / b) ** 2 < 1
        yield found & (k % 2 == 0)


def maps(count: int) -> Iterator[np.ndarray]:
    """Positive, smooth and long-tailed, as the maps of networks are."""
    rng = np.random.default_rng(1)
    for mask in masks(count):
        rough = rng.normal(size=(SIDE // 8, SIDE // 8))
        raised = 1.5 * zoom(gaussian_filter(mask[::4, ::4].astype(np.float32), 3), 4, order=1)
        yield np.exp(zoom(rough, 8, order=1) + raised).astype(np.float32) * 1e-2


def one_by_one(count: int) -> tuple[float, dict]:
    stored = [StoredMask.of(mask) for mask in masks(count)]
    image = np.zeros((1, SIDE, SIDE), dtype=np.uint8)
    seconds = -time.process_time()
    measures = LesionMeasures(stored, [str(k) for k in range(count)], None, None)
    seconds += time.process_time()
    for each in maps(count):
        seconds -= time.process_time()
        measures.add(each, image, None)
        seconds += time.process_time()
    seconds -= time.process_time()
    found = measures.by_name()
    return seconds + time.process_time(), found


def by_sorting(count: int) -> tuple[float, dict]:
    all_maps = np.stack(list(maps(count)))
    all_masks = np.stack(list(masks(count)))
    began = time.process_time()
    regions, lesions = label_regions(all_masks)
    share = 1 / (lesions * np.bincount(regions.ravel()).astype(np.float64))
    share[0] = 0
    values = all_maps.ravel()
    order = np.argsort(-values)
    ordered = values[order]
    ends = np.append(np.flatnonzero(ordered[1:] != ordered[:-1]), len(ordered) - 1)

    def above(weight: np.ndarray) -> np.ndarray:
        return np.append(0, np.cumsum(weight[order], dtype=np.float64)[ends])

    found, false = above(all_masks.ravel()), above(~all_masks.ravel())
    overlap = above(share[regions.ravel()])
    rate = false / false[-1]
    inside = rate <= 0.3
    rates, overlaps = np.append(rate[inside], 0.3), np.append(overlap[inside], np.nan)
    overlaps[-1] = np.interp(0.3, rate, overlap)
    precision = found[1:] / (found[1:] + false[1:])
    return time.process_time() - began, {
        "pixel_auroc": float(np.trapezoid(found / found[-1], rate)),
        "pixel_ap": float(np.sum(np.diff(found) * precision) / found[-1]),
        "aupro": float(np.trapezoid(overlaps, rates) / 0.3),
    }


WAYS = {"one by one": one_by_one, "sorted": by_sorting}


if __name__ == "__main__":
    main()
