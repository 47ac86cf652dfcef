"""What it costs to score one image in a fresh process: seconds of the processor, and memory.

    python benchmarks/cold_start.py --run RUN --image IMAGE
    python benchmarks/cold_start.py --run RUN --image IMAGE --before OTHER_CHECKOUT/src

RUN must hold model.onnx and model.xml of `a2bgan export`. Each way is measured in turn, several
rounds of them; ratios are medians of the rounds' ratios to ``import torch`` of the same round.
``--before`` measures another version of the package too. Prints a table and writes it to
docs/results/cold-start.md.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from result_page import write_page

SOURCE = Path(__file__).resolve().parents[1] / "src"
TORCH = "import torch"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--image", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--before", type=Path, help="src of another version, to compare with")
    parser.add_argument("--out", type=Path, default=Path("docs/results/cold-start.md"))
    args = parser.parse_args()
    sources = {"": SOURCE} | ({"before: ": args.before} if args.before else {})
    found: dict[str, list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        for _ in range(args.rounds):
            found.setdefault(TORCH, []).append(measured(["-c", TORCH], SOURCE))
            for prefix, source in sources.items():
                for name, command in ways(args.run, args.image, Path(folder)).items():
                    found.setdefault(prefix + name, []).append(measured(command, source))
    lines = [
        "# One image in a fresh process",
        "",
        f"`python benchmarks/cold_start.py --run RUN --image IMAGE --rounds {args.rounds}"
        f"{' --before SRC' if args.before else ''}`",
        "",
        f"Seconds of the processor (user and system) and the most memory, medians of {args.rounds} "
        "rounds, in which all ways take turns; in brackets the lowest and the highest. The ratio "
        f"is the median of the rounds' ratios to `{TORCH}` of the same round.",
        "",
        f"| command | processor seconds | against `{TORCH}` | memory, MB |",
        "| --- | --- | --- | --- |",
    ]
    torch = np.array(found[TORCH])[:, 0]
    for name, each in found.items():
        seconds, memory = np.array(each).T
        lines.append(
            f"| `{name}` | {np.median(seconds):.2f} ({seconds.min():.2f} to {seconds.max():.2f}) "
            f"| {np.median(seconds / torch):.2f} | {np.median(memory):.0f} |"
        )
    print(*lines[6:], sep="\n")
    write_page(args.out, lines)


def ways(run: Path, image: Path, folder: Path) -> dict[str, list[str]]:
    models = {"RUN": run, "RUN/model.onnx": run / "model.onnx", "RUN/model.xml": run / "model.xml"}
    predict = ["-m", "a2bgan", "predict"]
    rest = [str(image), "--out", str(folder / "out")]
    found = {f"predict {name} IMAGE": [*predict, str(path), *rest] for name, path in models.items()}
    return found | {"a2bgan --help": ["-m", "a2bgan", "--help"]}


def measured(command: list[str], source: Path) -> tuple[float, float]:
    """Processor seconds and peak memory in MB of a Python process."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "PYTHONPATH": str(source)}
    process = subprocess.Popen([sys.executable, *command], env=environment, **quiet)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)}: ended with {status}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    main()
