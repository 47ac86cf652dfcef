"""How fast images come into the cache, beside a plain loop, and how fast a second start is.

    python benchmarks/ingest.py [FOLDER...] --generated 60

For each folder: images a second of a loop of OpenCV (of DICOM, pydicom and OpenCV) that decodes and
resizes by the mean of areas and checks nothing; of the project's reader and preprocessing, which
uses Lanczos's filter; and of `load_images` into a new cache, which also hashes the files. The ratio
is that of the second to the first. Then the seconds of a second `load_images`, which reads no
original, and of one with an image more, and how many of those are spent on hashing the files of the
longer list. ``--clock cpu`` counts seconds of the processor: what one
thread would need on a machine of its own. Needs opencv-python-headless. Prints a table and writes
it to docs/results/ingest.md.
"""

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import cv2
import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

from a2bgan.data.cache.content_index import contents_of
from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import is_dicom
from a2bgan.data.preprocessing import load_image
from a2bgan.detection.inputs import find_inputs
from a2bgan.files.markdown import table_row
from result_page import script_parser, write_page

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}

MANY = 10_001
"""Small images, with the one that is added to the others."""

GENERATED = (("png", 8, 1024), ("png", 16, 1024), ("png", 8, 256), ("jpg", 8, 1024),
             ("dcm", 12, 1024), ("png", 8, 64))  # fmt: skip


def main() -> None:
    parser = script_parser(__doc__, "docs/results/ingest.md")
    parser.add_argument("folders", type=Path, nargs="*")
    parser.add_argument("--generated", type=int, default=0, help="images of each generated kind")
    parser.add_argument("--images", type=int, default=MANY, help="of a folder, at most")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    cv2.setNumThreads(1)
    lines = [
        "# Speed of ingest",
        "",
        f"`python benchmarks/ingest.py --generated {args.generated} --rounds {args.rounds} "
        f"--clock {args.clock}`",
        "",
        f"{os.cpu_count()} CPUs, clock: {args.clock}. Images a second; the median of rounds in "
        "turn, and the median of their ratios with the lowest and the highest. Starts: seconds of "
        "`load_images` once the images are in the cache, and with one image more; of the latter, "
        "those for the hashes of all files.",
        "",
        "| images | OpenCV's loop | a2bgan | ratio | into the cache | second start, s | "
        "one image more, s | hashes of it, s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="a2bgan-")))
        made = [make_folder(place, kind, args.generated) for kind in GENERATED if args.generated]
        for folder in [*args.folders, *made]:
            files = [item.path for item in find_inputs([folder])][: args.images]
            lines.append(row(folder.name, files, args.rounds, CLOCKS[args.clock]))
            print(lines[-1], flush=True)
    write_page(args.out, lines)


def row(name: str, files: list[Path], rounds: int, clock: Callable[[], float]) -> str:
    side = len(load_with_opencv(files[0]))
    config = DataConfig(size=min(256, side))
    some = files[:: max(1, len(files) // 1000)][:1000]

    def plain() -> None:
        for file in some:
            cv2.resize(
                load_with_opencv(file), (config.size, config.size), interpolation=cv2.INTER_AREA
            )

    def ours() -> None:
        for file in some:
            load_image(file, config)

    rates = in_turn((plain, ours), len(some), rounds, clock)
    ratios = [second / first for first, second in zip(*rates, strict=True)]
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as cache:
        names = [str(file) for file in files]

        def load(count: int) -> float:
            began = clock()
            load_images(files[:count], names[:count], config, Path(cache))
            return clock() - began

        built = (len(files) - 1) / load(len(files) - 1)
        second = np.median([load(len(files) - 1) for _ in range(5)])
        more = load(len(files))
        began = clock()
        contents_of(files, Path(cache))
        hashing = clock() - began
    cells = [
        f"{len(files):,} {name}",
        *(f"{np.median(each):,.0f}" for each in rates),
        f"{np.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        f"{built:,.0f}",
        f"{second:.3f}",
        f"{more:.3f}",
        f"{hashing:.3f}",
    ]
    return table_row(cells)


def load_with_opencv(file: Path) -> np.ndarray:
    if is_dicom(file):
        return pydicom.dcmread(file).pixel_array
    return cv2.imread(str(file), cv2.IMREAD_UNCHANGED)


def in_turn(
    ways: tuple[Callable[[], None], ...], count: int, rounds: int, clock: Callable[[], float]
) -> list[list[float]]:
    rates: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, found in zip(ways, rates, strict=True):
            began = clock()
            way()
            found.append(count / (clock() - began))
    return rates


def make_folder(place: Path, kind: tuple[str, int, int], count: int) -> Path:
    """Files of smooth and noisy pictures; small ones are so many that whole lists are copied."""
    suffix, bits, side = kind
    folder = place / f"{suffix.upper()}, {bits} bits, {side} x {side}"
    folder.mkdir()
    for number in range(MANY if side < 128 else count):
        rng = np.random.default_rng(number)
        rough, finer = (
            cv2.resize(rng.random((n, n), dtype=np.float32), (side, side)) for n in (9, side // 4)
        )
        values = 0.7 * rough + 0.2 * finer + 0.02 * rng.normal(size=(side, side))
        values = (values - values.min()) / np.ptp(values)
        levels = (values * ((1 << bits) - 1)).astype(np.uint8 if bits == 8 else np.uint16)
        file = folder / f"{number:06}.{suffix}"
        if suffix == "dcm":
            write_dicom(file, levels, bits)
        else:
            cv2.imwrite(str(file), levels)
    return folder


def write_dicom(file: Path, levels: np.ndarray, bits: int) -> None:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = generate_uid()
    dataset.Rows, dataset.Columns = levels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, bits, bits - 1
    dataset.PixelRepresentation, dataset.PixelData = 0, levels.tobytes()
    dataset.save_as(file, enforce_file_format=True)


if __name__ == "__main__":
    main()
