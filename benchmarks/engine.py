"""Very many images: exactly once although processes are killed, how fast, and with what memory.

    python benchmarks/engine.py --images 100000
    python benchmarks/engine.py --images 100000 --before OTHER_CHECKOUT/src

Tiny images are generated, and scored by an untrained narrow network as an ONNX file with two
workers; one is killed, then all of them with the process that leads them, and the command is
given again. Then a node of a cluster of Ray on this machine is killed. ``--before``
also measures the version that shared parts by RANK and WORLD_SIZE, with two processes, without
killing any. Memory is measured with lists and scores of made-up images. Prints tables and writes
them to docs/results/engine.md.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from a2bgan.report.archive import FEWEST_PARTS, LARGEST_PART, PARTS
from result_page import write_page

SOURCE = Path(__file__).resolve().parents[1] / "src"
LENGTHS = (10_000, 100_000, 1_000_000, 10_000_000)
SCHEMA = ("path", "patient_id", "score", "mean", "deviation", "unfamiliar", "error")
PEAK = """
def peak():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) // 1024 for line in file if line.startswith("VmHWM"))
"""

# What a process of each version does with a list that is there, and with parts that are there.
NEW = (
    PEAK
    + """
import sys, shutil
from pathlib import Path
from a2bgan.detection.open_model import open_model
from a2bgan.report.archive import PartScorer, finish, open_archive
model, calibration = open_model(Path(sys.argv[1]))
out = Path(sys.argv[3])
archive = open_archive(sys.argv[2], out, model)
scorer, before = PartScorer(archive, model, calibration), peak()
scorer.make(0)
listed, before_join = peak() - before, peak()
shutil.rmtree(out / "parts")
shutil.copytree(sys.argv[4], out / "parts")
finish(archive, calibration, 0.05)
print(listed, peak() - before_join)
"""
)
OLD = (
    PEAK
    + """
import sys
from pathlib import Path
from a2bgan.detection.exported_model import load_exported
from a2bgan.detection.inputs import find_inputs
from a2bgan.report import scored_parts
model = load_exported(Path(sys.argv[1]))
out = Path(sys.argv[3])
before = peak()
inputs = find_inputs([Path(sys.argv[2])])
scored_parts._score(model, inputs[:1000], model.calibration)
listed, before_join = peak() - before, peak()
files = sorted(Path(sys.argv[4]).glob("*.parquet"))
scored_parts._write_table(files, inputs, out / "scores.parquet", model.calibration, 0.05)
print(listed, peak() - before_join)
"""
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--node-images", type=int, default=2000, help="while a node is lost")
    parser.add_argument(
        "--lengths", type=int, nargs="*", default=LENGTHS, help="of lists whose memory is measured"
    )
    parser.add_argument("--before", type=Path, help="src of the version with RANK and WORLD_SIZE")
    parser.add_argument("--out", type=Path, default=Path("docs/results/engine.md"))
    args = parser.parse_args()
    lines = [
        "# Scoring an archive",
        "",
        f"`python benchmarks/engine.py --images {args.images}"
        f"{' --before SRC' if args.before else ''}`",
        "",
    ]
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as name:
        folder = Path(name)
        model = write_model(folder / "model.onnx")
        write_images(folder / "images", args.images)
        print("images written", flush=True)
        lines += survive(model, folder, args.images)
        if args.before:
            lines += [before(model, folder, args.images, args.before)]
        write_page(args.out, lines)
        lines += lose_a_node(model, folder, min(args.node_images, args.images))
        write_page(args.out, lines)
        versions = {"now": (NEW, SOURCE)}
        if args.before:
            versions["before"] = (OLD, args.before)
        lines += memory(model, folder, versions, args.lengths)
    print(*lines, sep="\n")
    write_page(args.out, lines)


def write_model(file: Path) -> Path:
    """An untrained network for images of 32 x 32, with a made-up calibration."""
    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.export import export
    from a2bgan.detection.pick import Pick
    from a2bgan.detection.trained_model import Trained
    from a2bgan.training.config import load_config

    settings = ["data.size=32", "method.translator.width=4", "method.translator.blocks=1"]
    settings += ["method.discriminator.features=null"]
    config, pick = load_config("fast", None, settings), Pick("none", "raw", "mean", "none")
    rng = np.random.default_rng(0)
    scores, means, deviations = np.sort(rng.random((3, 100)), axis=1)
    known = Calibration(pick, scores, scores, means, deviations, np.arange(100))
    some = rng.integers(0, 256, (4, config.data.channels, 32, 32), dtype=np.uint8)
    export(Trained(config.build_method(), config, pick), known, some, "onnx", file)
    return file


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        if k % 1000 == 0:
            (folder / f"{k // 1000:04d}").mkdir()
        pixels = rng.integers(0, 256, (24, 24), dtype=np.uint8)
        Image.fromarray(pixels).save(image_of(folder, k), compress_level=0)


def image_of(folder: Path, k: int) -> str:
    return f"{folder}/{k // 1000:04d}/{k:07d}.png"


def survive(model: Path, folder: Path, count: int) -> list[str]:
    """Kill a worker, then everything, and go on; what is in the result."""
    listed, out = folder / "list.csv", folder / "now"
    write_list(listed, (image_of(folder / "images", k) for k in range(count)))
    command = ["score-archive", str(model), str(listed), "--out", str(out), "--cores", "1"]
    command += ["--workers", "2"]
    began = time.time()
    driver = started(command, SOURCE)
    wait_for(lambda: len(made(out)) >= 4, driver)
    first = min(file.stat().st_mtime for file in made(out)) - began
    os.kill(next(p for p in below(driver.pid) if "_Worker" in command_of(p)), signal.SIGKILL)
    wait_for(lambda: len(made(out)) >= count // 2000, driver)
    left = [p for p in below(driver.pid) if "_Worker" in command_of(p)]
    driver.kill()
    driver.wait()
    wait_for(lambda: not any(map(command_of, left)))
    at_kill = len(made(out))
    began_again = time.time()
    driver = started(command, SOURCE)
    if driver.wait():
        raise SystemExit("the second call failed")
    took = time.time() - began_again
    again = [f.stat().st_mtime for f in made(out) if f.stat().st_mtime > began_again]
    # All parts but one have as many images, and each worker's first one took its start.
    size = -(-count // len(made(out)))
    rate = size * (len(again) - 2) / (max(again) - sorted(again)[1])
    paths = pq.read_table(out / "scores", columns=["path"])["path"].to_pylist()
    once = len(paths) == len(set(paths)) == count
    return [
        f"{count:,} images of 24 x 24, two workers of one core; a worker killed after 4 parts, the "
        f"leading process and all others after {at_kill} of {len(made(out))}, the command given "
        f"again: {len(set(paths)):,} images in the result, "
        f"{'each exactly once' if once else 'NOT EACH ONCE'}.",
        "",
        "| version | to the first part, s | images/s after that | given again, s |",
        "| --- | --- | --- | --- |",
        f"| now | {first:.0f} | {rate:.0f} | {took:.0f} |",
    ]


def before(model: Path, folder: Path, count: int, source: Path) -> str:
    """The same with two processes of the version before."""
    listed, out = folder / "few.csv", folder / "before"
    write_list(listed, (image_of(folder / "images", k) for k in range(count)))
    command = ["predict", str(model), str(listed), "--out", str(out), "--part-size", "1000"]
    began = time.time()
    both = [started(command, source, RANK=str(k), WORLD_SIZE="2") for k in range(2)]
    if any(process.wait() for process in both):
        raise SystemExit("the version before failed")
    times = sorted(file.stat().st_mtime for file in made(out))
    rate = 1000 * (len(times) - 2) / (times[-1] - times[1]) if len(times) > 2 else np.nan
    return f"| before, none killed | {times[0] - began:.0f} | {rate:.0f} | |"


def lose_a_node(model: Path, folder: Path, count: int) -> list[str]:
    """Take one of two working nodes from a cluster of Ray; what is in the result."""
    from ray.cluster_utils import Cluster

    listed, out = folder / "node.csv", folder / "node"
    write_list(listed, (image_of(folder / "images", k) for k in range(count)))
    store = {"object_store_memory": 128 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **store})
    try:
        nodes = [cluster.add_node(num_cpus=1, **store) for _ in range(2)]
        command = ["score-archive", str(model), str(listed), "--out", str(out), "--cores", "1"]
        driver = started(command, SOURCE, RAY_ADDRESS=cluster.address)
        wait_for(lambda: len(made(out)) >= 4, driver)
        cluster.remove_node(nodes[0], allow_graceful=False)
        at_loss = len(made(out))
        if driver.wait():
            raise SystemExit("the command did not outlive the node")
        parts = len(made(out))
    finally:
        cluster.shutdown()
    paths = pq.read_table(out / "scores", columns=["path"])["path"].to_pylist()
    once = len(paths) == len(set(paths)) == count
    return [
        "",
        f"{count:,} images on a cluster of Ray, a head and two nodes with a worker each, all on "
        f"this machine; one node killed after {at_loss} of {parts} parts, the command left alone: "
        f"{len(set(paths)):,} images in the result, "
        f"{'each exactly once' if once else 'NOT EACH ONCE'}.",
    ]


def memory(
    model: Path, folder: Path, versions: dict[str, tuple[str, Path]], lengths: Sequence[int]
) -> list[str]:
    """Memory that a list and its join take beyond what a process has with its model open."""
    lines = [
        "",
        "Memory beyond that of a process with its model open, MB: to have the list and score a "
        "part of it, and to join all parts with p-values, half as many patients as images. The "
        "version now writes `scores/` part by part.",
        "",
        "| images | " + " | ".join(f"{v}: scoring | {v}: joining" for v in versions) + " |",
        "| --- |" + " --- | --- |" * len(versions),
    ]
    for count in lengths:
        listed, parts = folder / f"{count}.csv", folder / f"parts-{count}"
        write_list(listed, (image_of(folder / "images", k) for k in range(count)), patients=True)
        cells = [f"{count:,}"]
        for version, (code, source) in versions.items():
            out = folder / f"{version}-{count}"
            out.mkdir()
            size = 1000
            if version == "now":
                size = max(min(-(-count // FEWEST_PARTS), LARGEST_PART), -(-count // PARTS))
            write_parts(parts / version, count, size)
            command = [sys.executable, "-c", code, model, listed, out, parts / version]
            environment = {**os.environ, "PYTHONPATH": str(source)}
            said = subprocess.run(
                command, env=environment, capture_output=True, text=True, check=True
            )
            cells += said.stdout.split()
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def write_list(file: Path, paths: Iterable[str], patients: bool = False) -> None:
    with file.open("w") as out:
        out.write("path,split,patient_id\n")
        for k, path in enumerate(paths):
            out.write(f"{path},test,{f'PSN-{k // 2:016X}' if patients else ''}\n")


def write_parts(folder: Path, count: int, size: int) -> None:
    """Made-up scores of a whole list."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for number, start in enumerate(range(0, count, size)):
        n = min(size, count - start)
        people = [f"PSN-{k // 2:016X}" for k in range(start, start + n)]
        columns = [[f"images/{k:09d}.png" for k in range(start, start + n)], people]
        columns += [*rng.random((3, n)), np.zeros(n, bool), [""] * n]
        table = pa.table(dict(zip(SCHEMA, columns, strict=True)))
        pq.write_table(table, folder / f"{number:08d}.parquet")


def started(command: list[str], source: Path, **variables: str) -> subprocess.Popen[bytes]:
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = {**os.environ, "PYTHONPATH": str(source), "OMP_NUM_THREADS": "1", **variables}
    return subprocess.Popen([sys.executable, "-m", "a2bgan", *command], env=environment, **quiet)


def made(out: Path) -> list[Path]:
    return list((out / "parts").glob("*.parquet"))


def wait_for(condition, process: subprocess.Popen[bytes] | None = None) -> None:
    while not condition():
        if process is not None and process.poll() is not None:
            raise SystemExit("the command ended too early")
        time.sleep(0.1)


def below(process: int) -> list[int]:
    """Processes that a process has started, and those that they have."""
    children = dict[int, list[int]]()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [process]
    for one in found:
        found += children.get(one, [])
    return found[1:]


def command_of(process: int) -> str:
    """A process's command; "" once it has ended."""
    try:
        return Path(f"/proc/{process}/cmdline").read_text()
    except OSError:
        return ""


if __name__ == "__main__":
    main()
