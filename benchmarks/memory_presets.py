"""Peak memory of a training of each preset at each size.

    OMP_NUM_THREADS=1 python benchmarks/memory_presets.py

Each is trained in a process of its own for a few steps, the first without the translator, on 64
generated images; more images need no more (memory_training.py). Prints a table and writes it to
docs/results/memory-presets.md.
"""

import os
import tempfile
from pathlib import Path

from a2bgan.files.markdown import table_row
from a2bgan.training.config import load_config
from memory_methods import measure, write_images
from result_page import script_parser, write_page

CASES = (
    ("fast", (64, 128, 256, 512)),
    ("paper", (64, 128, 256)),
)
STEPS = 4
IMAGES = 64


def main() -> None:
    parser = script_parser(__doc__, "docs/results/memory-presets.md")
    args = parser.parse_args()
    threads = os.environ.get("OMP_NUM_THREADS")
    lines = [
        "# Memory of training, by preset and size",
        "",
        "How much memory does a training take?",
        "",
        f"`{f'OMP_NUM_THREADS={threads} ' if threads else ''}python benchmarks/memory_presets.py`",
        "",
        "Peak resident memory of the whole process, with the preset's batches.",
        "",
        "| preset | size | widths | batch | float32, GB | bfloat16, GB |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    print(*lines[-2:], sep="\n")
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        for preset, sizes in CASES:
            config = load_config(preset)
            method = config.method.model_dump()
            widths = ", ".join(str(method[n]["width"]) for n in ("translator", "discriminator"))
            for size in sizes:
                file = Path(folder, f"{size}.npy")
                if not file.exists():
                    write_images(file, IMAGES, size)
                cells = [preset, str(size), widths, f"2 x {config.train.batch_size}"]
                for precision in ("32-true", "bf16-mixed"):
                    settings = [f"data.size={size}", f"train.steps={STEPS}"]
                    settings += [f"train.precision={precision}", "train.accelerator=cpu"]
                    peak, _ = measure(preset, file, settings)
                    cells.append(f"{peak:.2f}")
                lines.append(table_row(cells))
                print(lines[-1], flush=True)
                write_page(args.out, lines)


if __name__ == "__main__":
    main()
