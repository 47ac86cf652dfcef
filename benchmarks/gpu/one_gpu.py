"""What one GPU is wanted for: speed of the training step, and detection at 256 x 256.

    python benchmarks/gpu/one_gpu.py --list
    python benchmarks/gpu/one_gpu.py speed
    python benchmarks/gpu/one_gpu.py detection --data .local-data/chestxray8 --minutes 3
    python benchmarks/gpu/one_gpu.py sight --masks .local-data/lgg_flair/dev.csv --weights FILE

speed: steps a second of presets `paper` and `fast` at 256 x 256 and full widths, batches of 16 +
16, against the plain step, the chip's limit, and with torch.compile; how long the paper's 400,000
steps take. The goal for an H100 is 37 steps a second of `paper`, three times the plain step's.
detection: pneumonia, as it is and equalised, and COVID-19 at 256 x 256 with full widths, `fast`
and `paper` for equal minutes; the folder of --data holds pneumonia.csv and covid.csv.
sight: `fast` on a set with masks at 256 x 256 and 512 x 512; PatchCore on the installed features
and on those of a larger network (--backbone, a timm name; --weights, its file: docs/backbones.md).

Tables go to docs/results/gpu-*.md; what was trained is kept under runs/benchmarks and not repeated.
Without a GPU, or with --list, the commands are printed and nothing is run.
"""

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

import torch

HERE = Path(__file__).resolve().parents[1]
FULL_WIDTH = "data.size=256,method.translator.width=64,method.discriminator.width=64"
PAPER_STEPS = 400_000


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("speed", "detection", "sight"), nargs="?")
    parser.add_argument("--data", type=Path, default=Path(".local-data/chestxray8"))
    parser.add_argument("--masks", type=Path, default=Path(".local-data/lgg_flair/dev.csv"))
    parser.add_argument("--backbone", default="vit_small_patch14_dinov2.lvd142m")
    parser.add_argument("--weights", type=Path, default=Path("dinov2_vits14.safetensors"))
    parser.add_argument("--minutes", type=float, default=3, help="of each training")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    parser.add_argument("--list", action="store_true", help="print the commands alone")
    args = parser.parse_args()
    parts = {"speed": speed(args), "detection": detection(args), "sight": sight(args)}
    chosen = parts if args.part is None else {args.part: parts[args.part]}
    if args.list or not torch.cuda.is_available():
        for name, commands in chosen.items():
            print(f"{name}:", *map(shlex.join, commands), sep="\n  ")
        if not torch.cuda.is_available():
            print("no GPU here: nothing is run")
        return
    for commands in chosen.values():
        for command in commands:
            subprocess.run(command, check=True)
    if "speed" in chosen:
        add_hours(args.out / "gpu-training-step.md")


def speed(args: argparse.Namespace) -> list[list[str]]:
    cases = [f"--case={preset}:256:64" for preset in ("paper", "fast")]
    out = f"--out={args.out / 'gpu-training-step.md'}"
    script = str(HERE / "training_step.py")
    return [[sys.executable, script, *cases, "--device=cuda", "--compile=inductor", out]]


def detection(args: argparse.Namespace) -> list[list[str]]:
    sets = {
        "gpu-pneumonia-256": ("pneumonia.csv", ""),
        "gpu-pneumonia-equalised-256": ("pneumonia.csv", ",data.equalize=true"),
        "gpu-covid-256": ("covid.csv", ""),
    }
    commands = []
    for name, (manifest, more) in sets.items():
        variants = [f"--variant={p}={p},{FULL_WIDTH}{more}" for p in ("fast", "paper")]
        options = [f"--data={args.data / manifest}", f"--name={name}", f"--out={args.out}"]
        options += [f"--minutes={args.minutes:g}", f"--seeds={args.seeds}", "--no-compare"]
        commands.append([sys.executable, str(HERE / "detection.py"), *options, *variants])
    return commands


def sight(args: argparse.Namespace) -> list[list[str]]:
    larger = f"method.backbone={args.backbone},method.backbone_weights={args.weights}"
    variants = [f"--variant={size}=fast,data.size={size}" for size in (256, 512)]
    variants += ["--variant=patchcore=patchcore", f"--variant=patchcore-larger=patchcore,{larger}"]
    options = [f"--data={args.masks}", "--name=gpu-sight", f"--out={args.out}", "--no-compare"]
    options += [f"--minutes={args.minutes:g}", f"--seeds={args.seeds}"]
    return [[sys.executable, str(HERE / "detection.py"), *options, *variants]]


def add_hours(table: Path) -> None:
    """Say below the table how long the paper's training takes at each rate."""
    lines = [f"The paper's {PAPER_STEPS:,} steps take, in hours:"]
    for row in table.read_text().splitlines():
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        if cells[0] == "paper":
            hours = PAPER_STEPS / float(cells[5]) / 3600
            lines.append(f"{cells[3]} {hours:.1f};")
    with table.open("a") as file:
        file.write("\n" + "\n".join(lines).removesuffix(";") + ".\n")


if __name__ == "__main__":
    main()
