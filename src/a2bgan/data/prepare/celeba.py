"""CelebA: with simulated squares, the paper's check of localisation, or for translation."""

import tempfile
from collections import Counter
from dataclasses import asdict, astuple
from pathlib import Path

import numpy as np

from a2bgan.data.generate.squares import simulate_squares
from a2bgan.data.manifest import read_manifest
from a2bgan.data.prepare.celeba_files import (
    LAYOUT,
    PARTITION,
    TEST,
    TRAINING,
    face_files,
    persons,
    read_pairs,
)
from a2bgan.data.prepare.celeba_translation import prepare_celeba_translation
from a2bgan.data.prepare.downloads import Download
from a2bgan.data.prepare.splits import require_split
from a2bgan.data.prepare.writing import Prepared
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

PAPER = SetCounts(5_000, 3_500, 1_500, test_normal=2_500, test_abnormal=2_500)

SIZE, SQUARE = 128, 40

SPARE = 20
"""Images more than needed, for those that cannot be read."""


def prepare_celeba(
    root: Path,
    out: Path,
    *,
    split: str = "patient",
    seed: int = 0,
    scale: bool = False,
    counts: SetCounts = PAPER,
    task: str | None = None,
    mixed_share: float | None = None,
) -> Prepared:
    """Faces in colour, 128 x 128; in the abnormal ones a square of 40 x 40 became its mean.

    split: "patient" takes training and test images from the official training and test partitions,
        which share no person; "paper" draws from all images. With both, healthy and mixed images
        may show the same person. Persons are the patients where identity_CelebA.txt is there.
    scale: let "paper" make do with fewer images, in proportion, which "patient" does anyway.
    task, mixed_share: of `prepare_celeba_translation`, which a task is left to.
    Raises InputError.
    """
    require_split(split)
    download = Download(root)
    files = face_files(download)
    if task is not None:
        return prepare_celeba_translation(
            download, files, out, task, mixed_share=mixed_share or 0.0, seed=seed
        )
    if mixed_share is not None:
        raise InputError("--mixed-share of celeba needs a --task")
    pools = [sorted(files)]
    needed = [counts.total]
    if split == "patient":
        partition = read_pairs(download, PARTITION)
        pools = [[n for n in pools[0] if partition.get(n) == part] for part in (TRAINING, TEST)]
        in_test = counts.test_normal + counts.test_abnormal
        needed = [needed[0] - in_test, in_test]
    factor = min(1.0, *(len(pool) / number for pool, number in zip(pools, needed, strict=True)))
    if split == "paper" and factor < 1 and not scale:
        raise InputError(
            f"{root}: the paper's split needs {needed[0]} images, found {len(files)}; add --scale "
            "for the same proportions of them, or use --split patient"
        )
    drawn = counts.times(factor)
    if not min(astuple(drawn)):
        raise InputError(f"{root}: too few images ({len(files)}); expected {LAYOUT}")
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        targets = {
            files[pool[i]]: Path(folder, str(number), pool[i])
            for number, pool in enumerate(pools)
            for i in rng.permutation(len(pool))[: needed[number] + SPARE]
        }
        download.place(targets)
        made = simulate_squares(
            Path(folder, "0"),
            out,
            size=SIZE,
            square=SQUARE,
            **asdict(drawn),
            seed=seed,
            test_images=Path(folder, "1") if split == "patient" else None,
            patients=persons(download),
        )
    notes = [f"{name}: {reason}; skipped" for name, reason in made.skipped]
    notes.append("images in colour: train with data.channels=3")
    rows = read_manifest(made.manifest).rows
    return Prepared(made.manifest, Counter((row.split, row.label) for row in rows), notes)
