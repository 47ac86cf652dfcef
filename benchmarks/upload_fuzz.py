"""Damaged files against the reading room's upload: no error inside, no hang, no growing memory.

    python benchmarks/upload_fuzz.py --files 10000

Generated images in every format that can be written here are mutated (bits flipped, bytes
overwritten, cut, repeated, sizes in headers changed) and sent to a server with a freshly trained
tiny run. Prints a table and writes it to docs/results/upload-fuzz.md.
"""

import io
import platform
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from result_page import script_parser, write_page

SECONDS = 20.0
"""A file must be answered within this."""


def main() -> None:
    parser = script_parser(__doc__, "docs/results/upload-fuzz.md")
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        run = train_tiny(Path(folder))
        result = fuzz(run, Path(folder) / "room", args.files, args.seed)
    lines = [
        "# Damaged uploads to the reading room",
        "",
        "Does any damaged file break the server?",
        "",
        f"`python benchmarks/upload_fuzz.py --files {args.files} --seed {args.seed}`",
        "",
        f"{platform.machine()}, Python {platform.python_version()}. 200: scored all the same; 422: "
        "refused with a reason. Resident memory after the first tenth and at the end.",
        "",
        "| files | 200 | 422 | other | slowest, s | server, MB | reading process, MB |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        f"| {args.files} | {result.statuses[200]} | {result.statuses[422]} | {result.other()} | "
        f"{result.slowest:.2f} | {result.server[0]:.0f} to {result.server[1]:.0f} | "
        f"{result.reader[0]:.0f} to {result.reader[1]:.0f} |",
    ]
    print(*lines, sep="\n")
    write_page(args.out, lines)
    if result.other() or result.slowest > SECONDS:
        raise SystemExit("a file broke the server")


class Result:
    """What came of the files; memory in MB after a tenth of them and at the end."""

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.slowest = 0.0
        self.server = [0.0, 0.0]
        self.reader = [0.0, 0.0]

    def other(self) -> int:
        return sum(n for status, n in self.statuses.items() if status not in (200, 422))


def fuzz(run: Path, room: Path, files: int, seed: int) -> Result:
    """Send mutated files to a server of a run."""
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.serving.reading_room.access import Access
    from a2bgan.serving.reading_room.app import make_app
    from a2bgan.serving.reading_room.room import Room
    from a2bgan.serving.reading_room.uploads import Limits
    from a2bgan.serving.reading_room.verdicts import Verdicts
    from a2bgan.training.run_folder import RunFolder

    room.mkdir()
    folder = RunFolder.open(run)
    verdicts = Verdicts(room / "verdicts.sqlite")
    place = Room(folder, room, verdicts, load_trained(folder))
    app = make_app(place, Access("127.0.0.1", 80), limits=Limits(seconds=SECONDS))
    result = Result()
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for number, (suffix, content) in enumerate(mutated(files, seed), start=1):
            began = time.monotonic()
            answer = client.post("/api/uploads", params={"suffix": suffix}, content=content)
            result.slowest = max(result.slowest, time.monotonic() - began)
            result.statuses[answer.status_code] += 1
            if answer.status_code != 200 and not answer.json()["error"]:
                raise SystemExit(f"file {number} was refused without a reason")
            if number in (max(1, files // 10), files):
                end = int(number == files)
                result.server[end], result.reader[end] = memory()
    verdicts.close()
    return result


def mutated(count: int, seed: int) -> Iterator[tuple[str, bytes]]:
    """Suffixes and contents of files, most of them damaged; the same for the same seed."""
    rng = random.Random(seed)
    originals = list(images(seed))
    for _ in range(count):
        suffix, content = rng.choice(originals)
        data = bytearray(content)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            mutate(data, rng)
        if rng.random() < 0.05:
            suffix = rng.choice(originals)[0]  # not what it says it is
        yield suffix, bytes(data)


def mutate(data: bytearray, rng: random.Random) -> None:
    kind = rng.randrange(6)
    if not data:
        return
    # Headers matter more than pixels.
    place = rng.randrange(min(len(data), 200) if rng.random() < 0.6 else len(data))
    if kind == 0:
        data[place] ^= 1 << rng.randrange(8)
    elif kind == 1:
        data[place : place + 4] = rng.choice(
            (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")
        )
    elif kind == 2:
        data[place] = rng.randrange(256)
    elif kind == 3:
        del data[place:]
    elif kind == 4:
        end = place + rng.randrange(1, 64)
        data[place:place] = data[place:end]
    else:
        del data[place : place + rng.randrange(1, 16)]


def images(seed: int) -> Iterator[tuple[str, bytes]]:
    """A small image in every format and depth."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
    grey = coarse.resize((48, 40), Image.Resampling.BICUBIC)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    colour = Image.merge("RGB", (grey, grey.rotate(180), grey))
    for image, form, options in (
        (grey, "PNG", {}), (deep, "PNG", {}), (colour, "PNG", {}), (grey.convert("P"), "PNG", {}),
        (colour.convert("RGBA"), "PNG", {}), (grey.convert("1"), "PNG", {}),
        (grey, "JPEG", {}), (colour, "JPEG", {"progressive": True}), (grey, "TIFF", {}),
        (deep, "TIFF", {"compression": "tiff_lzw"}), (colour, "TIFF", {"compression": "jpeg"}),
        (grey.convert("F"), "TIFF", {"compression": "tiff_deflate"}),
    ):  # fmt: skip
        file = io.BytesIO()
        image.save(file, format=form, **options)
        yield {"PNG": ".png", "JPEG": ".jpg", "TIFF": ".tiff"}[form], file.getvalue()


def train_tiny(folder: Path, size: int = 32) -> Path:
    """A run of some steps on a few phantoms, for images of a size."""
    from a2bgan.data.generate.phantoms import write_phantoms

    sizes = dict.fromkeys(
        ("healthy", "mixed_normal", "mixed_abnormal", "test_normal", "test_abnormal"), 4
    )
    data = write_phantoms(folder / "data", size=64, **sizes)
    settings = (
        "train.steps=6", f"data.size={size}", "train.accelerator=cpu",
        "method.translator.width=4", "method.translator.blocks=1",
        "method.discriminator.width=4", "method.discriminator.warmup_steps=2",
        "method.discriminator.features=null",
    )  # fmt: skip
    command = [sys.executable, "-m", "a2bgan.cli.app", "train", "--data", str(data)]
    command += ["--out", str(folder / "run"), *(p for s in settings for p in ("--set", s))]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return folder / "run"


def memory() -> tuple[float, float]:
    """Resident memory in MB of this process and of its reading process."""
    import multiprocessing

    pids = ["self", *(str(child.pid) for child in multiprocessing.active_children())]
    found = []
    for pid in pids:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        found += [int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS:")]
    return found[0], sum(found[1:])


if __name__ == "__main__":
    main()
