"""What a newcomer's mistakes lead to: each is made, and what the command says is kept.

    python benchmarks/newcomer.py

Draws a small set of phantoms, spoils a copy of it in one way after the other and runs the command
on it as a user would. Prints a table of mistake, exit code and the lines that speak of it, and
writes it to docs/results/newcomer.md.
"""

import csv
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

COUNTS = ("--size", "64", "--healthy", "160", "--mixed-normal", "60", "--mixed-abnormal", "60",
          "--test-normal", "20", "--test-abnormal", "20")  # fmt: skip
QUICK = ("--preset", "probe", "--set", "data.size=64")
SHORT = ("--preset", "fast", "--set", "data.size=64", "--set", "train.steps=4",
         "--set", "method.discriminator.warmup_steps=2")  # fmt: skip
LONGEST = 100
"""Characters of a cell; of more only the beginning is shown."""


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    lines: list[str]


def main() -> None:
    parser = script_parser(__doc__, "docs/results/newcomer.md")
    out = parser.parse_args().out
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        made = Newcomer(Path(folder)).rows()
    lines = [
        "# A newcomer's mistakes",
        "",
        "What does the command say to each?",
        "",
        "`python benchmarks/newcomer.py`",
        "",
        f"On a small generated set; messages are cut after {LONGEST} characters.",
        "",
        "| mistake | command | what it says |",
        "| --- | --- | --- |",
        *map(table_row, made),
    ]
    print(*lines, sep="\n")
    write_page(out, lines)


class Newcomer:
    """Makes mistakes in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.good = folder / "good"
        self.run("data", "phantom", "--out", self.good, *COUNTS)
        self.trained = folder / "trained"
        self.run("train", "--data", self.good, "--out", self.trained, *QUICK)

    def rows(self) -> list[tuple[str, str, str]]:
        """Each mistake, the command and what it says of the mistake."""
        found = []
        for mistake, command, wanted, make in self.mistakes():
            said = self.run(*make())
            spoken = [line for line in said.lines if re.search(wanted, line)]
            cell = " / ".join(dict.fromkeys(spoken)) or "**nothing**"
            cell = cell if len(cell) <= LONGEST else f"{cell[:LONGEST]}..."
            found.append((mistake, f"`{command}`", cell))
            print(found[-1], file=sys.stderr, flush=True)
        return found

    def mistakes(self) -> Sequence[tuple[str, str, str, Callable[[], tuple[object, ...]]]]:
        """The mistake, the command in short, what its answer holds, and how it is made."""
        check = "data check"
        return [
            ("images directly in the folder", check, "error|InputError", self.flat),
            ("the folder above the one with the sets", check, "error", self.too_high),
            ("the folder `healthy` itself", check, "error", self.too_low),
            ("folders `Healthy`, `MIXED`, `Test/Normal`", check, "ready|error", self.capitals),
            ("files that are no known format in a folder", check, "not read", self.other_files),
            ("a manifest by Excel: `;`, UTF-16, `PatientID`, yes and no", check, "ready|error",
             self.excel),
            ("a column that nobody knows", check, "not used", self.unknown_column),
            ("one photograph, cut in half", check, "cannot be|left out", self.cut),
            ("a mask of another size", check, "mask", self.small_mask),
            ("the same images as healthy and as mixed", "train", "identical", self.same_sets),
            ("a patient in healthy and in test", "train", "patient", self.shared_patient),
            ("the same, with `--allow-leaks`", "train", "allowed", self.allowed),
            ("images of the training as test images", "evaluate", "learned from", self.learned),
            ("a training of 4 steps", "train", "doubtful|warning", self.starved),
            ("no disease in the mixed set", "train", "doubtful", self.chance),
            ("12 healthy images", "train", "too few|nothing held out|doubtful", self.few),
            ("an inverted, a turned and a noise image, and a screenshot", "predict", "look like",
             self.foreign),
            ("weights of another step", "predict", "not the weights", self.other_weights),
            ("labels changed in the run's manifest", "evaluate", "not the manifest", self.swapped),
        ]  # fmt: skip

    def run(self, *words: object) -> Said:
        """A command in a process of its own, in the folder."""
        done = subprocess.run(
            [sys.executable, "-m", "a2bgan", *map(str, words)], cwd=self.folder,
            capture_output=True, text=True, env=os.environ | {"COLUMNS": "1000"}, check=False,
        )  # fmt: skip
        lines = (done.stdout + done.stderr).replace(f"{self.folder}/", "").splitlines()
        return Said(done.returncode, [line.strip() for line in lines if line.strip()])

    def copy(self, name: str) -> Path:
        """A fresh copy of the set with its manifest."""
        return Path(shutil.copytree(self.good, self.folder / name))

    def folders(self, name: str) -> Path:
        """The set as folders."""
        target = self.folder / name
        for row in self.read(self.good):
            part = row["split"]
            if part == "test":
                part += "/abnormal" if row["label"] == "1" else "/normal"
            (target / part).mkdir(parents=True, exist_ok=True)
            shutil.copy(self.good / row["path"], target / part)
        return target

    def read(self, folder: Path) -> list[dict[str, str]]:
        """Rows of a manifest."""
        with (folder / "manifest.csv").open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    def write(self, folder: Path, rows: Sequence[dict[str, str]]) -> Path:
        """Replace a manifest."""
        with (folder / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, rows[0])
            table.writeheader()
            table.writerows(rows)
        return folder

    def flat(self) -> tuple[object, ...]:
        target = self.folder / "flat"
        shutil.copytree(self.good / "images", target)
        return "data", "check", target

    def too_high(self) -> tuple[object, ...]:
        return "data", "check", self.folders("high/sets").parent

    def too_low(self) -> tuple[object, ...]:
        return "data", "check", self.folders("low") / "healthy"

    def capitals(self) -> tuple[object, ...]:
        target = self.folders("capitals")
        (target / "healthy").rename(target / "Healthy")
        (target / "mixed").rename(target / "MIXED")
        (target / "test" / "normal").rename(target / "test" / "Normal")
        (target / "test").rename(target / "Test")
        return "data", "check", target, "--set", "data.size=64"

    def other_files(self) -> tuple[object, ...]:
        target = self.folders("others")
        for name in ("a.mha", "b.heic", "notes.txt"):
            (target / "mixed" / name).write_bytes(b"\0" * 200)
        return "data", "check", target, "--set", "data.size=64"

    def excel(self) -> tuple[object, ...]:
        target = self.copy("excel")
        text = (target / "manifest.csv").read_text("utf-8")
        text = text.replace("patient_id", "PatientID").replace(",", ";")
        text = text.replace(";test;1;", ";Test;Yes;").replace(";test;0;", ";Test;No;")
        (target / "manifest.csv").write_text(text, "utf-16")
        return "data", "check", target, "--set", "data.size=64"

    def unknown_column(self) -> tuple[object, ...]:
        target = self.copy("column")
        self.write(target, [row | {"ward": "3"} for row in self.read(target)])
        return "data", "check", target, "--set", "data.size=64"

    def cut(self) -> tuple[object, ...]:
        target = self.folders("cut")
        source = next((target / "mixed").iterdir())
        photograph = source.with_suffix(".jpg")
        Image.open(source).save(photograph)
        photograph.write_bytes(photograph.read_bytes()[: photograph.stat().st_size // 2])
        source.unlink()
        return "data", "check", target, "--set", "data.size=64"

    def small_mask(self) -> tuple[object, ...]:
        target = self.copy("mask")
        mask = next(r["mask"] for r in self.read(target) if r["mask"] and r["split"] == "test")
        Image.new("L", (32, 32), 255).save(target / mask)
        return "data", "check", target, "--set", "data.size=64"

    def same_sets(self) -> tuple[object, ...]:
        target = self.folders("same")
        shutil.rmtree(target / "mixed")
        shutil.copytree(target / "healthy", target / "mixed")
        return "train", "--data", target, "--out", "r-same", *QUICK

    def shared_patient(self) -> tuple[object, ...]:
        target = self.copy("shared")
        rows = self.read(target)
        first = {
            split: next(r for r in rows if r["split"] == split) for split in ("healthy", "test")
        }
        first["test"]["patient_id"] = first["healthy"]["patient_id"]
        self.write(target, rows)
        return "train", "--data", target, "--out", "r-shared", *QUICK

    def allowed(self) -> tuple[object, ...]:
        return ("train", "--data", "shared", "--out", "r-shared", *QUICK, "--allow-leaks")

    def learned(self) -> tuple[object, ...]:
        target = self.copy("learned")
        rows = self.read(target)
        for row in rows:
            row["split"] = "test" if row["split"] == "healthy" else row["split"]
        self.write(target, [row for row in rows if row["split"] == "test"])
        return "evaluate", self.trained, "--data", target

    def starved(self) -> tuple[object, ...]:
        return "train", "--data", self.good, "--out", "r-starved", *SHORT

    def chance(self) -> tuple[object, ...]:
        target = self.copy("chance")
        rows = [r for r in self.read(target) if r["split"] != "mixed" or r["label"] == "0"]
        healthy = [r for r in rows if r["split"] == "healthy"]
        for row in healthy[::3]:
            row["split"] = "mixed"
        self.write(target, rows)
        return "train", "--data", target, "--out", "r-chance", *QUICK

    def few(self) -> tuple[object, ...]:
        target = self.copy("few")
        rows = self.read(target)
        healthy = [r for r in rows if r["split"] == "healthy"][:12]
        self.write(target, healthy + [r for r in rows if r["split"] != "healthy"])
        return "train", "--data", target, "--out", "r-few", *QUICK

    def foreign(self) -> tuple[object, ...]:
        target = self.folder / "foreign"
        target.mkdir()
        row = next(r for r in self.read(self.good) if r["split"] == "test")
        film = np.asarray(Image.open(self.good / row["path"]).convert("L"))
        noise = np.random.default_rng(0).integers(0, 256, film.shape).astype(np.uint8)
        page = np.full((200, 200), 255, np.uint8)
        page[20:180:12, 20:180] = 0
        for name, pixels in (("inverted", 255 - film), ("turned", film[::-1]), ("noise", noise),
                             ("screenshot", page)):  # fmt: skip
            Image.fromarray(np.ascontiguousarray(pixels)).save(target / f"{name}.png")
        return "predict", self.trained, target, "--out", "results", "--no-pictures"

    def other_weights(self) -> tuple[object, ...]:
        run = shutil.copytree(self.trained, self.folder / "r-weights")
        (checkpoint,) = (run / "checkpoints").iterdir()
        other = self.folder / "r-chance" / "checkpoints" / checkpoint.name
        shutil.copy(other / "evidence.safetensors", checkpoint)
        return "predict", run, self.good / "images", "--out", "results-2", "--no-pictures"

    def swapped(self) -> tuple[object, ...]:
        run = shutil.copytree(self.trained, self.folder / "r-labels")
        rows = self.read(run)
        for row in rows:
            row["label"] = {"0": "1", "1": "0"}.get(row["label"], "")
        self.write(run, rows)
        return "evaluate", run


if __name__ == "__main__":
    main()
