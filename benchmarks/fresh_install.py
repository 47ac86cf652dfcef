"""How large a fresh installation is, and how long the first minutes take.

    python benchmarks/fresh_install.py --python python3.11 python3.12 --cpu
    python benchmarks/fresh_install.py --python python3.11

Builds the wheel, installs it without extras into a new environment of each interpreter, and runs
the first commands of a newcomer there. Then it adds each extra alone. --cpu takes PyTorch's CPU
wheels. Needs gigabytes of disk and the package index. Writes docs/results/fresh-install.md.
"""

import csv
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from a2bgan.files.markdown import table_head, table_row
from result_page import script_parser, write_page

ROOT = Path(__file__).parents[1]
EXTRAS = ("dicom", "dicomweb", "export", "fid", "listen", "pdf", "scale", "serve", "tensorboard")
CPU_WHEELS = "https://download.pytorch.org/whl/cpu"
TRAIN = ("train", "--data", "DATA", "--out", "RUN", "--set", "train.steps=10")


def main() -> None:
    parser = script_parser(__doc__, "docs/results/fresh-install.md")
    parser.add_argument("--python", nargs="+", default=["python3"])
    parser.add_argument("--cpu", action="store_true", help="PyTorch's CPU wheels")
    args = parser.parse_args()
    rows, extras = [], []
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        wheel = build(Path(folder))
        for number, python in enumerate(args.python):
            home = Path(folder, f"env{number}")
            row = measured(python, wheel, home, cpu=args.cpu)
            rows.append(row)
            print(*row, sep="  ", flush=True)
            if number == 0:
                extras = [added(home, wheel, extra) for extra in EXTRAS]
            shutil.rmtree(home)
    flag = " --cpu" if args.cpu else ""
    write_page(
        args.out,
        [
            "# A fresh installation",
            "",
            "How large is it, and how long do the first commands take?",
            "",
            f"`python benchmarks/fresh_install.py --python {' '.join(args.python)}{flag}`",
            "",
            "The wheel without extras in a new environment. Training: 10 steps of the default on 60"
            " phantoms, with selection and calibration. Seconds of wall clock.",
            "",
            *table_head(
                ["Python", "PyTorch", "GB", "`--help`, s", "10 steps, s", "predict one, s"]
            ),
            *(table_row(row) for row in rows),
            "",
            *table_head(["extra", "packages", "MB"]),
            *(table_row(row) for row in extras),
        ],
    )


def build(folder: Path) -> Path:
    """Build the wheel, from which everything is installed."""
    command = [
        "python3",
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "-w",
        str(folder),
        str(ROOT),
    ]
    subprocess.run(command, check=True)
    return next(folder.glob("*.whl"))


def measured(python: str, wheel: Path, home: Path, *, cpu: bool) -> list[str]:
    """Install, and time the first commands: a row of the table."""
    subprocess.run([python, "-m", "venv", str(home)], check=True)
    if cpu:
        pip(home, "install", "torch", "torchvision", "--index-url", CPU_WHEELS)
    pip(home, "install", str(wheel))
    version = of_python(home, "import sys; print('.'.join(map(str, sys.version_info[:3])))")
    torch = of_python(home, "import torch; print(torch.__version__)")
    data, run = home / "data", home / "run"
    a2bgan(home, "data", "phantom", "--out", data, "--healthy", 40, "--mixed-normal", 10,
           "--mixed-abnormal", 10, "--test-normal", 2, "--test-abnormal", 2)  # fmt: skip
    a2bgan(home, "--help")  # compiles the modules
    with (data / "manifest.csv").open(encoding="utf-8") as file:
        image = next(data / row["path"] for row in csv.DictReader(file) if row["split"] == "test")
    places = {"DATA": data, "RUN": run}
    seconds = [
        a2bgan(home, *command)
        for command in (
            ("--help",),
            [places.get(part, part) for part in TRAIN],
            ("predict", run, image, "--out", home / "results"),
        )
    ]
    return [version, torch, f"{size(home) / 1e9:.1f}", *(f"{s:.1f}" for s in seconds)]


def added(home: Path, wheel: Path, extra: str) -> list[str]:
    """Add an extra alone and take it away again: its name, packages and size."""
    before, bytes_before = installed(home), size(home)
    pip(home, "install", f"{wheel}[{extra}]")
    new = sorted(installed(home) - before)
    row = [extra, str(len(new)), f"{(size(home) - bytes_before) / 1e6:.0f}"]
    pip(home, "uninstall", "--yes", *(name.partition("==")[0] for name in new))
    print(*row, sep="  ", flush=True)
    return row


def installed(home: Path) -> set[str]:
    command = [str(home / "bin/python"), "-m", "pip", "freeze", "--exclude", "a2bgan"]
    return set(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())


def pip(home: Path, *arguments: str) -> None:
    subprocess.run([str(home / "bin/python"), "-m", "pip", "--quiet", *arguments], check=True)


def of_python(home: Path, code: str) -> str:
    command = [str(home / "bin/python"), "-c", code]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def a2bgan(home: Path, *arguments: object) -> float:
    """Run the command away from the sources; the seconds it took."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    environment["A2BGAN_CACHE"] = str(home / "cache")
    started = time.monotonic()
    command = [str(home / "bin/a2bgan"), *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=home)
    return time.monotonic() - started


def size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(file.lstat().st_size for file in folder.rglob("*") if not file.is_symlink())


if __name__ == "__main__":
    main()
