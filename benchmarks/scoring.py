"""How fast images are scored, against a plain loop over them.

    python benchmarks/scoring.py --large DATA/chestxray8/original
    python benchmarks/scoring.py --threads 1 --clock cpu ...   # where others use the machine

Ways are measured in turn, several rounds of them, so that whatever else the machine does meets all
alike. The plain loop is what one writes first: open a file with Pillow, resize, run the network on
one image, take the mean of the difference. Networks have random weights, which cost what trained
ones do; images are generated PNGs, but those of --large. ``--clock cpu`` counts seconds of the
processor instead of the clock's: what one thread would need on a machine of its own; it hides what
overlapping gains. Prints tables and writes them to docs/results/scoring.md.
"""

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.flop_counter import FlopCounterMode

from a2bgan.detection.export import export
from a2bgan.detection.exported_model import load_exported
from a2bgan.detection.inputs import Input, find_inputs
from a2bgan.detection.pick import Pick
from a2bgan.detection.predict import Model, predict
from a2bgan.detection.trained_model import Trained
from a2bgan.files.markdown import table_row
from a2bgan.report.score_tables import write_predictions
from a2bgan.training.config import load_config
from machine_peak import matmul_peak
from result_page import script_parser, write_page

WIDTHS = (16, 64)
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def main() -> None:
    parser = script_parser(__doc__, "docs/results/scoring.md")
    parser.add_argument("--images", type=int, default=16, help="of each timing, width 16")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--width", type=int, action="append", help="by default 16 and 64")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--large", type=Path, help="folder of large images, such as 1024 x 1024")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    clock = CLOCKS[args.clock]
    peaks = {kind: matmul_peak(kind, clock) for kind in (torch.float32, torch.bfloat16)}
    command = f"python benchmarks/scoring.py --images {args.images} --rounds {args.rounds}"
    command += "".join(f" --width {width}" for width in args.width or ())
    command += f" --threads {args.threads} --clock {args.clock}"
    lines = [
        "# Speed of scoring",
        "",
        "How many images a second does `predict` score, beside a plain loop in PyTorch?",
        "",
        f"`{command}{' --large DATA' if args.large else ''}`",
        "",
        f"{args.threads} threads, clock: {args.clock}. Matrix products of 2048 x 2048 reach "
        f"{peaks[torch.float32] / 1e9:.0f} Gflop/s in float32, "
        f"{peaks[torch.bfloat16] / 1e9:.0f} in bfloat16. Median of the rounds (lowest to highest).",
        "",
        "From PNG files of 256 x 256 to scores, A2B-GAN:",
        "",
        "| width | way | images/s | against the plain loop | Gflop an image | share of the peak |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        for width in args.width or WIDTHS:
            count = args.images if width == 16 else max(1, args.images // 8)
            files = write_images(Path(folder, str(width)), count)
            trained = untrained(width, 256)
            flops = flops_of(trained)
            ways = ways_of(trained, files, Path(folder))
            rates = in_turn(ways, count, args.rounds, clock)
            for name, rate in rates.items():
                kind = torch.bfloat16 if "bfloat16" in name else torch.float32
                share = np.median(rate) * flops / peaks[kind]
                cells = [str(width), name, spread(rate), against(rate, rates["plain loop"])]
                cells += [f"{flops / 1e9:.1f}", f"{share:.0%}"]
                lines.append(table_row(cells))
                print(lines[-1], flush=True)
        if args.large:
            files = [item.path for item in find_inputs([args.large])][: args.images]
            ways = ways_of(untrained(16, 256), files, Path(folder))
            rates = in_turn(ways, len(files), args.rounds, clock)
            with Image.open(files[0]) as first:
                size = f"{first.width} x {first.height}"
            lines += [
                "",
                f"From {len(files)} files of {size} to scores at 256 x 256, width 16:",
                "",
            ]
            lines += ["| way | images/s | against the plain loop |", "| --- | --- | --- |"]
            for name, rate in rates.items():
                lines.append(f"| {name} | {spread(rate)} | {against(rate, rates['plain loop'])} |")
                print(lines[-1], flush=True)
    write_page(args.out, lines)


def untrained(width: int, size: int) -> Trained:
    settings = [f"data.size={size}", f"method.translator.width={width}"]
    config = load_config("fast", None, settings)
    return Trained(config.build_method(), config, Pick("none", "raw", "mean", "none"))


def write_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{k:04d}.png" for k in range(count)]
    for file in files:
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16), dtype=np.uint8))
        coarse.resize((256, 256), Image.Resampling.BICUBIC).save(file)
    return files


def plain_loop(trained: Trained, files: list[Path]) -> None:
    network = trained.method.networks["translator"]
    size = trained.data.size
    for file in files:
        image = Image.open(file).convert("L").resize((size, size))
        x = torch.from_numpy(np.array(image)).float().div(127.5).sub(1)[None, None]
        with torch.no_grad():
            twin = network(x).healthy
        ((x - twin).abs().mean() / 2).item()


def ways_of(trained: Trained, files: list[Path], folder: Path) -> dict[str, Callable[[], object]]:
    inputs = [Input(str(file), file, "") for file in files]
    plain = untrained(trained.config.method.translator.width, trained.data.size)
    plain.method.networks["translator"].to(memory_format=torch.contiguous_format)
    some = np.random.default_rng(0).integers(0, 256, (2, 1, 256, 256), dtype=np.uint8)
    exported = folder / "model.xml"
    export(trained, None, some, "openvino", exported)

    def scores_by(model: Model, pictures: bool = False) -> Callable[[], object]:
        out = folder / "out"
        config = model.data if pictures else None
        return lambda: write_predictions(predict(model, inputs), out, pictures=config)

    return {
        "plain loop": lambda: plain_loop(plain, files),
        "predict": scores_by(trained),
        "predict, bfloat16": scores_by(replace(trained, half=True)),
        "predict, OpenVINO": scores_by(load_exported(exported)),
        "predict, OpenVINO, bfloat16": scores_by(load_exported(exported, half=True)),
        "predict, with pictures": scores_by(trained, pictures=True),
    }


def in_turn(
    ways: dict[str, Callable[[], object]], count: int, rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Images a second of each way in each round, after one round that is not counted."""
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = clock()
            way()
            if number:
                rates[name].append(count / (clock() - began))
    return rates


def spread(rates: list[float]) -> str:
    return f"{np.median(rates):.2f} ({min(rates):.2f} to {max(rates):.2f})"


def against(rates: list[float], plain: list[float]) -> str:
    return f"{np.median(np.divide(rates, plain)):.2f}"


def flops_of(trained: Trained) -> float:
    x = torch.zeros(1, trained.data.channels, trained.data.size, trained.data.size)
    with FlopCounterMode(display=False) as counter:
        trained.method.find(x)
    return float(counter.get_total_flops())


if __name__ == "__main__":
    main()
