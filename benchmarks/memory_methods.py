"""Peak memory and speed of PaDiM and PatchCore on a set as large as the paper's largest.

    python benchmarks/memory_methods.py --images 20657 --size 256

The paper's authors ran out of 500 GB with both on Cardiomegaly's 20,657 healthy images. Each method
is trained here, by the loop that `a2bgan train` uses, in a process of its own, on generated noise
with an image's smoothness, from a memory-mapped file in a temporary folder; its features are
random, which costs what pretrained ones do. Prints a table and writes it to
docs/results/memory-methods.md.
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

PRESETS = ("padim", "padim-paper", "patchcore", "patchcore-paper")
LIMIT = 6.0  # GB


def main() -> None:
    parser = script_parser(__doc__, "docs/results/memory-methods.md")
    parser.add_argument("--images", type=int, default=20657)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--preset", action="append", help=f"by default {', '.join(PRESETS)}")
    parser.add_argument("--set", action="append", default=[], help="a setting of all of them")
    parser.add_argument("--train", nargs=2, help=argparse.SUPPRESS)  # in the process of its own
    args = parser.parse_args()
    if args.train:
        train_here(args.train[0], Path(args.train[1]), args.set)
        return
    settings = [f"data.size={args.size}", "method.random_features=true", *args.set]
    options = "".join(f" --set {setting}" for setting in args.set)
    presets = args.preset or PRESETS
    named = "".join(f" --preset {p}" for p in args.preset or ())
    lines = [
        "# Memory of PaDiM and PatchCore",
        "",
        f"Do they fit {args.images} images in {LIMIT:g} GB?",
        "",
        f"`python benchmarks/memory_methods.py --images {args.images} --size {args.size}{named}"
        f"{options}`",
        "",
        f"{os.cpu_count()} CPUs ({platform.machine()}), "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}. Peak: resident memory of "
        "the whole process.",
        "",
        "| preset | images | peak, GB | below the limit | seconds | images/s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines[-2:], sep="\n")
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        file = Path(folder) / "images.npy"
        write_images(file, args.images, args.size)
        for preset in presets:
            peak, seconds = measure(preset, file, settings)
            cells = [preset, str(args.images), f"{peak:.2f}", "yes" if peak < LIMIT else "NO"]
            cells += [f"{seconds:.0f}", f"{args.images / seconds:.1f}"]
            lines.append(table_row(cells))
            print(lines[-1], flush=True)
    write_page(args.out, lines)


def write_images(file: Path, count: int, size: int) -> None:
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 1, size, size))
    rng = np.random.default_rng(0)
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
        images[k, 0] = coarse.resize((size, size), Image.Resampling.BICUBIC)
    images.flush()


def measure(preset: str, file: Path, settings: list[str]) -> tuple[float, float]:
    """Peak resident memory in GB and seconds of a training in another process."""
    options = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, __file__, "--train", preset, str(file), *options]
    started = time.monotonic()
    process = subprocess.Popen(command)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - started
    if status:
        raise SystemExit(f"{preset}: ended with status {os.waitstatus_to_exitcode(status)}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit / 1e9, seconds


def train_here(preset: str, file: Path, settings: list[str]) -> None:
    from a2bgan.training.config import load_config
    from a2bgan.training.loop import train
    from a2bgan.training.run_folder import RunFolder

    config = load_config(preset, None, settings)
    images = np.load(file, mmap_mode="r")
    run = RunFolder.create(file.parent / preset, config, overwrite=True)
    train(config, images, images[:1], run)


if __name__ == "__main__":
    main()
