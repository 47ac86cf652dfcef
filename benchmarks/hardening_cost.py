"""What the checks against strangers' files cost on good ones: this tree against an earlier one.

    git worktree add --detach BEFORE COMMIT
    python benchmarks/hardening_cost.py --before BEFORE

Three things in a process each, of both trees in turn: the start of `train` until its first step,
`predict` of 1,000 small PNGs, and building the cache of 1,000 images. Prints medians, their ratio
and the spread, and writes them to docs/results/hardening-cost.md.
"""

import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

SMALL = [
    part
    for setting in (
        "train.steps=1", "train.log_every=1", "data.size=64", "train.accelerator=cpu",
        "method.translator.width=4", "method.translator.blocks=1", "method.discriminator.width=4",
        "method.discriminator.features=null",
    )
    for part in ("--set", setting)
]  # fmt: skip

CACHE = """
import sys
from pathlib import Path
try:
    from a2bgan.data.cache.images import load_images
    from a2bgan.data.config import DataConfig
except ImportError:  # before
    from a2bgan.data.cache import load_images
    from a2bgan.data.preprocessing import DataConfig
paths = sorted(Path(sys.argv[1]).iterdir())
load_images(paths, [p.name for p in paths], DataConfig(size=64), Path(sys.argv[2]))
"""


def main() -> None:
    parser = script_parser(__doc__, "docs/results/hardening-cost.md")
    parser.add_argument("--before", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=1000)
    args = parser.parse_args()
    trees = {"before": args.before.resolve(), "after": Path(__file__).resolve().parents[1]}
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        times = measure(Path(folder), trees, args.rounds, args.images)
    lines = [
        "# What the checks against strangers' files cost on good ones",
        "",
        f"`python benchmarks/hardening_cost.py --before BEFORE --rounds {args.rounds}`",
        "",
        f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}. "
        f"Before: {commit(trees['before'])}, after: {commit(trees['after'])}. Seconds of a "
        f"processor: the median of {args.rounds} and, in brackets, the least and the most; both "
        "trees in turn. With the start of Python.",
        "",
        "| what | before | after | ratio of medians | of the least |",
        "| --- | --- | --- | --- | --- |",
    ]
    for what, of_trees in times.items():
        before, after = of_trees["before"], of_trees["after"]
        ratio = statistics.median(after) / statistics.median(before)
        cells = [
            what,
            shown(before),
            shown(after),
            f"{ratio:.3f}",
            f"{min(after) / min(before):.3f}",
        ]
        lines.append(table_row(cells))
    print(*lines, sep="\n")
    write_page(args.out, lines)


def shown(seconds: list[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f} to {max(seconds):.2f})"


def commit(tree: Path) -> str:
    command = ["git", "-C", str(tree), "rev-parse", "--short", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def measure(
    folder: Path, trees: dict[str, Path], rounds: int, count: int
) -> dict[str, dict[str, list[float]]]:
    """Seconds by what was done and by which tree."""
    rng = np.random.default_rng(0)
    images = folder / "images"
    for name, number in (("images", count), ("data/healthy", 40), ("data/mixed", 40)):
        (folder / name).mkdir(parents=True)
        for k in range(number):
            coarse = rng.integers(0, 256, (8, 8), np.uint8)
            picture = Image.fromarray(coarse).resize((64, 64), Image.Resampling.BILINEAR)
            picture.save(folder / name / f"{k:04d}.png")
    train = ["train", "--data", folder / "data", *SMALL, "--overwrite", "--out"]
    for name, tree in trees.items():
        run(tree, folder / f"cache-{name}", "-m", "a2bgan", *train, folder / f"run-{name}")
    times: dict[str, dict[str, list[float]]] = {}
    for number in range(rounds):
        for name, tree in trees.items():
            fresh = folder / f"fresh-{name}-{number}"
            here = folder / f"run-{name}"
            out = ("--out", folder / f"out-{name}-{number}")
            jobs = {
                "`train` of one step": ("-m", "a2bgan", *train, here),
                f"`predict` of {count:,} PNGs": (
                    "-m",
                    "a2bgan",
                    "predict",
                    here,
                    images,
                    "--no-pictures",
                    *out,
                ),
                f"cache of {count:,} images": ("-c", CACHE, images, fresh / "images"),
            }
            for what, job in jobs.items():
                cache = folder / f"cache-{name}" if "train" in what else fresh
                took = run(tree, cache, *job)
                times.setdefault(what, {}).setdefault(name, []).append(took)
    return times


def run(tree: Path, cache: Path, *arguments: object) -> float:
    """Seconds of a processor that a command of a tree takes: others' work does not count in it."""
    environment = {
        **os.environ, "PYTHONPATH": str(tree / "src"), "A2BGAN_CACHE": str(cache),
        "A2BGAN_PSEUDONYM_KEY": str(cache.parent / "key"), "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    begun = used()
    command = [sys.executable, *map(str, arguments)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    took = used() - begun
    if done.returncode:
        sys.exit(f"{tree.name}: {' '.join(map(str, arguments[:4]))}: {done.stderr[-2000:]}")
    return took


def used() -> float:
    """Seconds that all commands so far have used, in the system too."""
    all_of_them = resource.getrusage(resource.RUSAGE_CHILDREN)
    return all_of_them.ru_utime + all_of_them.ru_stime


if __name__ == "__main__":
    main()
