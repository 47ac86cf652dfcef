"""Resident memory of a training, against the number of images.

    python benchmarks/memory_training.py

Preset ``fast`` at 256 x 256 is trained for a few steps, by the loop that `a2bgan train` uses, each
time in a process of its own, on generated images in a memory-mapped file in a temporary folder (6.5
GB for 100,000). Pages of that file that happen to be in memory are the system's, which takes them
back when it likes; they are counted apart. Prints a table and writes it to
docs/results/memory-training.md.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.run_folder import RunFolder
from result_page import script_parser, write_page

COUNTS = (10_000, 100_000)


def main() -> None:
    parser = script_parser(__doc__, "docs/results/memory-training.md")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--width", type=int, default=4, help="of both networks")
    parser.add_argument("--train", type=Path, help=argparse.SUPPRESS)  # in the process of its own
    args = parser.parse_args()
    if args.train:
        train_here(args.train, args.size, args.steps, args.width)
        return
    command = "python benchmarks/memory_training.py"
    command += f" --size {args.size} --steps {args.steps} --width {args.width}"
    lines = [
        "# Memory of training against the number of images",
        "",
        "Does memory grow with the images?",
        "",
        f"`{command}`",
        "",
        f"Networks of width {args.width}, batches of 8 of each set; most at the end of any step.",
        "",
        "| images | file, GB | own memory, GB | pages of the file, GB |",
        "| --- | --- | --- | --- |",
    ]
    for count in COUNTS:
        needed = count * args.size**2
        with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
            if shutil.disk_usage(folder).free < 2 * needed:
                raise SystemExit(f"{folder}: {2 * needed / 1e9:.0f} GB of free disk are wanted")
            write_images(Path(folder, "images.npy"), count, args.size)
            own, mapped = map(float, in_another_process(folder, args).split())
        lines.append(f"| {count:,} | {needed / 1e9:.1f} | {own / 1e9:.2f} | {mapped / 1e9:.2f} |")
        print(lines[-1], flush=True)
    write_page(args.out, lines)


def write_images(file: Path, count: int, size: int) -> None:
    images = np.lib.format.open_memmap(file, "w+", np.uint8, (count, 1, size, size))
    rng = np.random.default_rng(0)
    for start in range(0, count, 1000):
        stop = min(start + 1000, count)
        part = rng.bytes((stop - start) * size**2)
        images[start:stop] = np.frombuffer(part, np.uint8).reshape(-1, 1, size, size)
    images.flush()


def in_another_process(folder: str, args: argparse.Namespace) -> str:
    options = [f"--{name}={getattr(args, name)}" for name in ("size", "steps", "width")]
    command = [sys.executable, __file__, "--train", folder, *options]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return result.stdout.splitlines()[-1]


def train_here(folder: Path, size: int, steps: int, width: int) -> None:
    settings = [f"data.size={size}", f"train.steps={steps}", "train.log_every=1"]
    settings += [f"method.{part}.width={width}" for part in ("translator", "discriminator")]
    settings += ["method.discriminator.warmup_steps=2", "train.sample_every=1000000"]
    config = load_config("fast", None, [*settings, "train.checkpoint_every=1000000"])
    images = np.load(folder / "images.npy", mmap_mode="r")
    half = len(images) // 2
    most = [0, 0]

    def watch(report: object) -> None:
        now = memory("RssAnon"), memory("RssFile")
        most[:] = (max(a, b) for a, b in zip(most, now, strict=True))

    run = RunFolder.create(folder / "run", config)
    train(config, images[:half], images[half:], run, watch=watch)
    print(*most)


def memory(kind: str) -> int:
    """Bytes of this process's resident memory of a kind (Linux)."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{kind}:"):
            return 1024 * int(line.split()[1])
    raise SystemExit("this benchmark reads /proc/self/status, which is Linux's")


if __name__ == "__main__":
    main()
