"""Write a set of generated images, each with its twin: the same picture without its anomaly."""

import csv
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder

SMALLEST_SIZE = 32
"""Smaller images have no room for what is drawn: a rib would be thinner than a pixel."""


@dataclass(frozen=True)
class Generated:
    """One generated image.

    image, twin: uint8 (size, size) or (size, size, 3); the twin of a normal image is the image
    itself. mask: bool (size, size), where the two differ. kind: of anomaly, or None.
    """

    image: NDArray[np.uint8]
    twin: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str | None


def write_generated(
    out: Path,
    counts: SetCounts,
    kinds: Mapping[str, Sequence[str]],
    draw: Callable[[np.random.Generator, str | None], Generated],
    seed: int,
) -> Path:
    """Write images into the new folder `out` and return the path of its manifest.csv.

    The folder holds images/ (names say nothing about the class), masks/ (abnormal images), twins/
    (test images only: training never has a pair) and manifest.csv with the columns path, split,
    label, patient_id, mask and twin. Each image is another patient. Image number i depends on the
    seed, i and its kind only. `out` appears when it is complete.

    kinds: of each split's abnormal images, equally frequent. draw: makes an image of a kind, or a
    normal one. Raises InputError when `out` holds something or a number is negative.
    """
    roles = [
        (split, kinds[split][number % len(kinds[split])] if label else None)
        for split, label, number in counts.roles()
    ]
    # Shuffled, so that neither names nor the order of rows tell the class.
    order = generator(seed).permutation(len(roles))
    columns = ("path", "split", "label", "patient_id", "mask", "twin")
    with new_set(out, ("images", "masks", "twins"), columns) as (folder, table):
        for index, role in enumerate(order):
            split, kind = roles[role]
            made = draw(generator(seed, index), kind)
            path, mask, twin = f"images/{index:05d}.png", "", ""
            Image.fromarray(made.image).save(folder / path)
            if kind is not None:
                mask = f"masks/{index:05d}.png"
                Image.fromarray(made.mask.astype(np.uint8) * 255).save(folder / mask)
            if split == "test":
                twin = f"twins/{index:05d}.png"
                Image.fromarray(made.twin).save(folder / twin)
            table.writerow((path, split, int(kind is not None), f"P{index:05d}", mask, twin))
    return out / "manifest.csv"


@contextmanager
def new_set(
    out: Path, folders: Sequence[str], columns: Sequence[str]
) -> Iterator[tuple[Path, Any]]:
    """Yield a folder that becomes `out` when it is complete, and the CSV writer of its manifest."""
    with atomic_folder(out) as folder:
        for name in folders:
            (folder / name).mkdir()
        with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(columns)
            yield folder, table


def require_size(size: int) -> None:
    """InputError for a side below SMALLEST_SIZE."""
    if size < SMALLEST_SIZE:
        raise InputError(f"size {size} is too small: use {SMALLEST_SIZE} or more")


def generator(seed: int, *index: int) -> np.random.Generator:
    """The random generator of a set, or of one image in it. InputError for a negative seed."""
    if seed < 0:
        raise InputError("the seed must be 0 or more")
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=index))
