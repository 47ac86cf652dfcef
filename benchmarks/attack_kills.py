"""Kill a command before each thing that it does to files, then run it again.

    python benchmarks/attack_kills.py

`train`, `select`, `calibrate` and `predict` run on a small generated set, each in a process of its
own that ends like one that was killed (no clean-up) before its first, second, third ... rename,
unlink, new folder or sync. Then the same command runs to its end: `train` with --resume, or from
the beginning where there is no run yet. What comes out must be the same bytes as without a kill.
`listen` is its queue here: two objects are accepted, scored and delivered, and after a kill every
object whose sender was told "success" must still be delivered, with the same bytes.
Prints a table and writes it to docs/results/attack-kills.md.
"""

import hashlib
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

KILLED = 137
EVENTS = ("rename", "replace", "unlink", "mkdir", "rmdir", "fsync")
"""Functions of `os` before which a process is killed."""

UIDS = ("1.2.3", "1.2.4")

SMALL = (
    "--preset", "autoencoder", "--set", "data.size=32", "--set", "train.steps=4",
    "--set", "train.checkpoint_every=2", "--set", "train.sample_every=4", "--set",
    "train.accelerator=cpu", "--set", "train.precision=32-true", "--set", "holdout.at_most=null",
)  # fmt: skip
COUNTS = ("--size", "32", "--healthy", "60", "--mixed-normal", "20", "--mixed-abnormal", "20",
          "--test-normal", "4", "--test-abnormal", "4")  # fmt: skip


def main() -> None:
    parser = script_parser(__doc__, "docs/results/attack-kills.md")
    out = parser.parse_args().out
    # Before processes are forked, which then need not; with one thread, because others are lost.
    import torch

    import a2bgan.cli.app
    import a2bgan.detection.decisions.calibration
    import a2bgan.detection.predict
    import a2bgan.report.score_tables
    import a2bgan.training.loop  # noqa: F401

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        rows = attack(Path(folder))
    lines = [
        "# Killed commands",
        "",
        "A command is killed before each of its file operations and run again: are the results "
        "byte for byte those of a run that was never killed?",
        "",
        "`python benchmarks/attack_kills.py`",
        "",
        "| command | kills | same bytes, resumed | same bytes, started again | different |",
        "| --- | --- | --- | --- | --- |",
        *map(table_row, rows),
    ]
    print(*lines, sep="\n")
    write_page(out, lines)
    if any(row[-1] for row in rows):
        raise SystemExit(1)


def attack(folder: Path) -> list[tuple[str, int, int, int, int]]:
    """Rows of the table."""
    data, whole = folder / "data", folder / "whole"
    run(["data", "phantom", "--out", data, *COUNTS])
    assert run(["train", "--data", data, "--out", whole, *SMALL]) == 0
    weights = digest(whole / "checkpoints", "*.safetensors")

    def trained(place: Path) -> tuple[list[Sequence[object]], Callable[[], str]]:
        target = place / "run"
        first = ["train", "--data", data, "--out", target, *SMALL]
        again = [["train", "--out", target, "--resume"], first]
        return [first, *again], lambda: digest(target / "checkpoints", "*.safetensors")

    def decided(word: str, file: str) -> Callable[[Path], object]:
        def make(place: Path) -> tuple[list[Sequence[object]], Callable[[], str]]:
            target = place / "run"
            shutil.copytree(whole, target)
            command = [word, target]
            return [command, command], lambda: digest(target, file)

        return make

    def predicted(place: Path) -> tuple[list[Sequence[object]], Callable[[], str]]:
        command = ["predict", whole, data / "images", "--out", place / "results"]
        return [command, command], lambda: digest(place / "results", "scores.csv")

    selected, calibrated = (digest(whole, f"{name}.json") for name in ("selection", "calibration"))
    run(["predict", whole, data / "images", "--out", folder / "results"])
    scores = digest(folder / "results", "scores.csv")
    return [
        kill_everywhere(folder, "train", trained, weights),
        kill_everywhere(folder, "select", decided("select", "selection.json"), selected),
        kill_everywhere(folder, "calibrate", decided("calibrate", "calibration.json"), calibrated),
        kill_everywhere(folder, "predict", predicted, scores),
        kill_queue(folder),
    ]


def kill_everywhere(
    folder: Path, name: str, make: Callable[[Path], object], expected: str
) -> tuple[str, int, int, int, int]:
    """Kill a command before its first event, its second, and so on until it ends by itself."""
    found: Counter[str] = Counter()
    step = 0
    while True:
        place = folder / f"{name}-{step}"
        place.mkdir()
        os.environ["A2BGAN_CACHE"] = str(place / "cache")
        commands, result = make(place)  # type: ignore[misc]
        code = run(commands[0], kill_before=step)
        if code != KILLED:
            break
        outcome = "other"
        for number, command in enumerate(commands[1:]):
            if run(command) == 0:
                same = result() == expected
                outcome = ("going on", "beginning")[number] if same else "other"
                break
        found[outcome] += 1
        if outcome == "other":
            print(f"{name}: killed before event {step}: not the same", file=sys.stderr)
        shutil.rmtree(place)
        step += 1
    return name, step, found["going on"], found["beginning"], found["other"]


def kill_queue(folder: Path) -> tuple[str, int, int, int, int]:
    """Kill the DICOM node's queue before each event, and open it again."""
    lost = step = 0
    while True:
        place = folder / f"listen-{step}"
        code, before = serve_queue(place, kill_before=step)
        if code != KILLED:
            break
        again, after = serve_queue(place)
        promised = {uid for kind, uid in before if kind == "accepted"}
        delivered = {name for kind, name in [*before, *after] if kind == "delivered"}
        due = {f"{uid}-{name}" for uid in UIDS for name in ("map", "capture")}
        kept = {uid for kind, uid in after if kind == "known"}
        if again != 0 or delivered != due or not promised <= kept or any(left_over(place)):
            print(f"listen: killed before event {step}: something is lost", file=sys.stderr)
            lost += 1
        shutil.rmtree(place)
        step += 1
    return "listen (its queue)", step, step - lost, 0, lost


def serve_queue(place: Path, kill_before: int | None = None) -> tuple[int, list[tuple[str, str]]]:
    """Accept, score and deliver everything in a forked process: exit code and what it told."""
    told, tells = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(told)
        code = 1
        try:
            from a2bgan.serving.dicom_node.queue import Queue

            if kill_before is not None:
                arm(kill_before)
            queue = Queue(place)
            for uid in UIDS:
                key = queue.key(uid)
                if queue.knows(key):
                    os.write(tells, f"known {uid}\n".encode())
                    continue
                with queue.incoming(uid.encode()) as file:
                    queue.keep(file, key)
                os.write(tells, f"accepted {uid}\n".encode())
            for key in queue.wait(for_sending=False, seconds=0):
                uid = (queue.received / f"{key}.dcm").read_text()
                results = {name: f"{uid}-{name}".encode() for name in ("map", "capture")}
                queue.finish(key, results, send=True)
            for key in queue.wait(for_sending=True, seconds=0):
                for result in queue.files(key):
                    os.write(tells, f"delivered {result.read_text()}\n".encode())
                    result.unlink()
                queue.sent(key)
            code = 0
        finally:
            os._exit(code)
    os.close(tells)
    with os.fdopen(told) as lines:
        found = [(kind, rest) for kind, rest in (line.split(maxsplit=1) for line in lines)]
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code, [(kind, rest.strip()) for kind, rest in found]


def left_over(place: Path) -> list[Path]:
    """Files that still wait somewhere in a queue."""
    return [file for folder in ("tmp", "received", "outbox") for file in (place / folder).iterdir()]


def run(words: Sequence[object], kill_before: int | None = None) -> int:
    """The exit code of `a2bgan` in a forked process."""
    child = os.fork()
    if child == 0:
        silent = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(silent, stream)
        if kill_before is not None:
            arm(kill_before)
        from a2bgan.cli.app import app

        code = 1
        try:
            code = int(app([str(word) for word in words], standalone_mode=False) or 0)
        except SystemExit as error:
            code = int(error.code or 0)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def arm(step: int) -> None:
    """End this process before the event of that number, without any clean-up."""
    count = 0

    def before(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal count
            if count == step:
                os._exit(KILLED)
            count += 1
            return real(*args, **kwargs)

        return call

    for name in EVENTS:
        setattr(os, name, before(getattr(os, name)))


def digest(folder: Path, pattern: str) -> str:
    """Of the names and contents of files, but for the optimiser's state and times."""
    found = hashlib.sha256()
    for file in sorted(folder.rglob(pattern)):
        if file.stem != "optimizers":
            found.update(str(file.relative_to(folder)).encode())
            found.update(file.read_bytes())
    return found.hexdigest()


if __name__ == "__main__":
    main()
