"""How fast a training is beside other programs: with one thread, with all, and with its own number.

    python benchmarks/beside_programs.py --rounds 5

Keeps none, half and all of the cores busy with programs that only count, and times the same steps
of the same training in turn: with a thread for each core, with one, and with as many as a training
takes by itself. Prints a table and writes it to docs/results/beside-programs.md.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from a2bgan.files.markdown import table_head, table_row
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.threads import threads_for_training
from result_page import head, script_parser, write_page
from training_step import batches, build, moment

COUNTING = "while True: pass"
SETTLING_SECONDS = 1.0


def main() -> None:
    parser = script_parser(__doc__, "docs/results/beside-programs.md")
    parser.add_argument("--preset", default="demo")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=4, help="of a measurement")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    cores = os.cpu_count() or 1
    method = build(args.preset, args.size, 16, "32-true")
    rows = []
    for programs in sorted({0, cores // 2, cores}):
        with busy(programs):
            rows.append(measured(method, programs, cores, args.size, args.steps, args.rounds))
        print(rows[-1], flush=True)
    options = (
        f"--preset {args.preset} --size {args.size} --steps {args.steps} --rounds {args.rounds}"
    )
    question = "Is a training ever slower than with one thread, because other programs run?"
    columns = (
        "busy programs", "with one thread, s", f"with {cores} threads", "by itself", "threads then",
    )  # fmt: skip
    page = [
        *head("Training beside other programs", question, "beside_programs.py", options),
        f"{cores} cores. Seconds of {args.steps} steps, median of {args.rounds} rounds in turn. "
        "Then how many times as long it takes with other numbers of threads: median of the "
        "rounds' ratios, the lowest and the highest.",
        "",
        *table_head(columns),
    ]
    write_page(args.out, [*page, *rows])


@contextmanager
def busy(programs: int) -> Iterator[None]:
    """Other programs that need a core each."""
    running = [subprocess.Popen([sys.executable, "-c", COUNTING]) for _ in range(programs)]
    time.sleep(SETTLING_SECONDS)
    try:
        yield
    finally:
        for program in running:
            program.kill()
            program.wait()


def measured(method: A2BGAN, programs: int, cores: int, size: int, steps: int, rounds: int) -> str:
    seconds: dict[str, list[float]] = {"one": [], "all": [], "own": []}
    chosen = []
    for _ in range(rounds):
        torch.set_num_threads(cores)
        with threads_for_training(None) as own_number:
            chosen.append(own_number)
        for name, threads in (("one", 1), ("all", cores), ("own", chosen[-1])):
            torch.set_num_threads(threads)
            seconds[name].append(timed(method, size, steps))
    one, every, own = (np.array(each) for each in seconds.values())
    cells = [str(programs), f"{np.median(one):.2f}", ratios(every / one), ratios(own / one)]
    return table_row([*cells, ", ".join(map(str, sorted(set(chosen))))])


def timed(method: A2BGAN, size: int, steps: int) -> float:
    pair = batches(size, "cpu", channels_last=True)
    method.step(*pair, moment(0, "cpu"))  # warms up
    started = time.perf_counter()
    for step in range(steps):
        method.step(*pair, moment(step, "cpu"))
    return time.perf_counter() - started


def ratios(values: np.ndarray) -> str:
    return f"{np.median(values):.2f} ({values.min():.2f} to {values.max():.2f})"


if __name__ == "__main__":
    main()
