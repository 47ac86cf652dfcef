"""How fast images come into the cache, and how fast a second start is.

    python benchmarks/ingest.py FOLDER...

For each folder: images a second of Pillow alone in one thread (open and decode), of torchvision's
decoder, of the project's reader, and of `load_images` into a new cache; then the seconds of a
second `load_images`, which reads no original. ``--clock cpu`` counts seconds of the processor: what
one thread would need on a machine of its own. Prints a table and writes it to
docs/results/ingest.md.
"""

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.reading import read_image
from a2bgan.detection.inputs import find_inputs
from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = script_parser(__doc__, "docs/results/ingest.md")
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--images", type=int, default=10_000, help="of a folder, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    clock = CLOCKS[args.clock]
    lines = [
        "# Speed of ingest",
        "",
        f"`python benchmarks/ingest.py FOLDER... --rounds {args.rounds} --clock {args.clock}`",
        "",
        f"{os.cpu_count()} CPUs, clock: {args.clock}. Images a second of 1,000 images: median of "
        "rounds in turn, in brackets the lowest and the highest. Second start: seconds of "
        "`load_images` for all images once they are in the cache, median of five.",
        "",
        "| images | Pillow, decode | torchvision, decode | a2bgan's reader | into the cache | "
        "second start, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for folder in args.folders:
        files = [item.path for item in find_inputs([folder])][: args.images]
        with Image.open(files[0]) as first:
            kind = f"{len(files):,} {first.format}, {first.width} x {first.height}"
            size = min(256, first.width)
        some = files[:: max(1, len(files) // 1000)][:1000]
        config = DataConfig(size=size)
        rates = in_turn(decoders(some), len(some), args.rounds, clock)
        with tempfile.TemporaryDirectory(prefix="a2bgan-") as cache:
            names = [str(file) for file in files]
            began = clock()
            load_images(files, names, config, Path(cache))
            built = len(files) / (clock() - began)
            seconds = []
            for _ in range(5):
                began = clock()
                load_images(files, names, config, Path(cache))
                seconds.append(clock() - began)
        cells = [kind, *map(spread, rates.values()), f"{built:,.0f}"]
        lines.append(table_row([*cells, f"{np.median(seconds):.2f}"]))
        print(lines[-1], flush=True)
    write_page(args.out, lines)


def decoders(files: list[Path]) -> dict[str, Callable[[], object]]:
    from torchvision.io import ImageReadMode, decode_image

    def pillow() -> None:
        for file in files:
            with Image.open(file) as image:
                np.asarray(image)

    def torchvision() -> None:
        for file in files:
            data = torch.frombuffer(bytearray(file.read_bytes()), dtype=torch.uint8)
            decode_image(data, ImageReadMode.UNCHANGED)

    def reader() -> None:
        for file in files:
            read_image(file, 100_000_000)

    return {"Pillow": pillow, "torchvision": torchvision, "a2bgan": reader}


def in_turn(
    ways: dict[str, Callable[[], object]], count: int, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = clock()
            way()
            rates[name].append(count / (clock() - began))
    return rates


def spread(rates: list[float]) -> str:
    return f"{np.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})"


if __name__ == "__main__":
    main()
