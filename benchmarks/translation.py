"""Translators on generated pairs: glasses on drawn faces, tubes on phantoms; equal minutes each.

    python benchmarks/translation.py --minutes 30 --seeds 3

Makes both sets, runs `a2bgan benchmark --task translation` on each, goes on where it was stopped,
and writes docs/results/translation.md and docs/images/translation-*.png. A table means something
when every method has had time to learn: with 30 minutes and 3 seeds it takes 15 hours. Without
--inception, FID and KID are of EfficientNet-Lite0's features, and the table says so.
"""

import csv
import os
import shutil
from pathlib import Path

from a2bgan.data.generate.faces import write_faces
from a2bgan.data.generate.phantoms import write_phantoms
from own_command import a2bgan
from result_page import script_parser, write_page

SIZE = 64
COLUMNS = (
    "method", "steps", "FID", "PSNR inside", "of the input", "PSNR outside", "change of normal",
    "note",
)  # fmt: skip


def main() -> None:
    parser = script_parser(__doc__, "docs/results")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000, help="of A and of B")
    parser.add_argument("--test", type=int, default=200, help="of each label")
    parser.add_argument("--methods", default="all")
    parser.add_argument("--inception", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/translation"))
    parser.add_argument("--pictures", type=Path, default=Path("docs/images"))
    args = parser.parse_args()
    shared = {
        "size": SIZE,
        "healthy": args.images,
        "mixed_normal": 0,
        "mixed_abnormal": args.images,
        "test_normal": args.test,
        "test_abnormal": args.test,
    }
    tubes = {"mixed_kinds": ["tube"], "test_kinds": ["tube"]}
    sections: list[str] = []
    for name, title, write, own, channels in (
        ("glasses", "Glasses on drawn faces", write_faces, {}, 3),
        ("tubes", "Tubes on chest phantoms", write_phantoms, tubes, 1),
    ):
        data, out = args.runs / name / "data", args.runs / name / "bench"
        if not data.exists():
            data.parent.mkdir(parents=True, exist_ok=True)
            write(data, **shared, **own)
        words = ["benchmark", "--task", "translation", "--data", data, "--out", out]
        words += ["--methods", args.methods, "--seeds", args.seeds, "--minutes", args.minutes]
        words += ["--set", f"data.channels={channels}", "--set", f"data.size={SIZE}"]
        words += [] if args.inception is None else ["--inception", args.inception]
        a2bgan(*words)
        if (out / "translation.png").exists():
            args.pictures.mkdir(parents=True, exist_ok=True)
            shutil.copy(out / "translation.png", args.pictures / f"translation-{name}.png")
        sections += ["", f"## {title}", "", *short_table(out / "translation.csv")]
    threads = os.environ.get("OMP_NUM_THREADS")
    prefix = f"OMP_NUM_THREADS={threads} " if threads else ""
    command = (
        f"{prefix}python benchmarks/translation.py --minutes {args.minutes:g} "
        f"--seeds {args.seeds} --images {args.images} --test {args.test} --methods {args.methods}"
    )
    lines = [
        "# Translators on generated pairs",
        "",
        "Which translator removes the object and leaves the rest alone?",
        "",
        f"`{command}`",
        "",
        f"Mean of the trainings (sd), on {args.test} test images whose truth training never saw. "
        "PSNR in dB inside and outside of the object; *of the input*: inside, if nothing is done; "
        "*change of normal*: mean change of images without the object.",
        *sections,
    ]
    write_page(args.out / "translation.md", lines)


def short_table(file: Path) -> list[str]:
    """Markdown of the columns of a benchmark's table that the page shows."""
    with file.open(newline="", encoding="utf-8") as source:
        rows = list(csv.DictReader(source))
    head = [column for column in COLUMNS if any(row.get(column) for row in rows)]
    cells = [head, ["---"] * len(head), *([row[column] for column in head] for row in rows)]
    return [f"| {' | '.join(row)} |" for row in cells]


if __name__ == "__main__":
    main()
