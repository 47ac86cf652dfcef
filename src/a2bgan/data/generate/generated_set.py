"""Write a set of generated images, each with the same picture without what is to be found."""

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder


@dataclass(frozen=True)
class Generated:
    """One generated image.

    image, twin: uint8 (size, size) or (size, size, 3). The twin is the same without what is to be
    found; of an image that has nothing of it, the image itself. mask: bool (size, size), where
    the two differ. kind: what there is to be found, or None.
    """

    image: NDArray[np.uint8]
    twin: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    kind: str | None


def write_generated(
    out: Path,
    counts: Mapping[tuple[str, int], int],
    kinds: Mapping[str, Sequence[str]],
    draw: Callable[[np.random.Generator, str | None], Generated],
    seed: int,
) -> Path:
    """Write images into the new folder `out` and return the path of its manifest.csv.

    The folder holds images/ (every image; names say nothing about the class), masks/ (abnormal
    images), twins/ (test images alone: training never has a pair) and manifest.csv with the
    columns path, split, label, patient_id, mask and twin, paths relative to the folder. Each
    image is another patient. Image number i depends on the seed, i and its kind only. `out`
    appears when it is complete.

    Args:
        counts: of each (split, label).
        kinds: of each split's abnormal images, which are equally frequent.
        draw: an image of a kind, or a normal one, from a generator.

    Raises InputError when `out` holds something or a number is negative.
    """
    if min(counts.values()) < 0 or seed < 0:
        raise InputError("counts and seed must be 0 or more")
    roles = [
        (split, kinds[split][i % len(kinds[split])] if label else None)
        for (split, label), count in counts.items()
        for i in range(count)
    ]
    # Shuffled, so that neither names nor the order of rows tell the class.
    order = np.random.default_rng(np.random.SeedSequence(seed)).permutation(len(roles))
    with atomic_folder(out) as folder:
        for name in ("images", "masks", "twins"):
            (folder / name).mkdir()
        with open(folder / "manifest.csv", "w", newline="", encoding="utf-8") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(("path", "split", "label", "patient_id", "mask", "twin"))
            for index, role in enumerate(order):
                split, kind = roles[role]
                rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
                made = draw(rng, kind)
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
