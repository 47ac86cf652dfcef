"""The held-out images of a run, loaded: what decisions without labels are made with."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.cache import Failure, load_images
from a2bgan.data.holdout import Holdout, Part
from a2bgan.data.manifest import Row, identify
from a2bgan.data.preprocessing import DataConfig
from a2bgan.data.pseudonyms import pseudonym
from a2bgan.data.slice_names import parse_slice, volume_of
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class HeldOut:
    """Preprocessed images (N, C, H, W), uint8 or uint16, whose they are, (N,), and what failed.

    slices: whether they are slices of volumes, so that patients are compared, not images.
    """

    images: np.ndarray
    patients: np.ndarray
    failures: Sequence[Failure] = ()
    slices: bool = False

    def __len__(self) -> int:
        return len(self.images)


def load_part(run: RunFolder, split: str, part: Part, limit: int | None = None) -> HeldOut:
    """Images of a run's set (healthy or mixed) that belong to a part, ``limit`` at most; of
    volumes all slices of ``limit`` at most.

    Files that cannot be read are failures; labels are not looked at. Raises InputError if the
    run's manifest, its images or its list of held-out images are gone.
    """
    manifest, holdout = run.manifest(), Holdout.read(run.holdout_file)
    rows = holdout.rows(manifest, split, part)
    volumes = list(dict.fromkeys(volume_of(row.name) for row in rows))
    if limit is not None and len(volumes) > limit:
        drawn = np.random.default_rng(0).choice(len(volumes), limit, replace=False)
        chosen = {volumes[i] for i in drawn.tolist()}
        rows = tuple(row for row in rows if volume_of(row.name) in chosen)
    return _load(rows, run.config().data)[0]


def load_both(run: RunFolder, part: Part) -> tuple[HeldOut, HeldOut]:
    """Healthy and mixed images of a part, ``selection.images`` of each at most."""
    limit = run.config().selection.images
    return load_part(run, "healthy", part, limit), load_part(run, "mixed", part, limit)


def load_labelled(rows: Sequence[Row], config: DataConfig) -> tuple[HeldOut, np.ndarray]:
    """Images of the labelled ones among rows, and their labels (N,)."""
    rows = [row for row in rows if row.label is not None]
    loaded, index = _load(rows, config)
    return loaded, np.array([rows[i].label for i in index], dtype=np.int64)


def without_learned(run: RunFolder, rows: Sequence[Row]) -> list[Row]:
    """The rows whose image and patient are neither in the run's healthy nor in its mixed set.

    An image is the file (of a slice its volume), whatever it is called; a patient the same under
    identifier and pseudonym.
    """
    manifest = run.manifest()
    learned = [*manifest.split("healthy"), *manifest.split("mixed")]
    files = {_file(row) for row in learned}
    patients = {pseudonym(known) for row in learned if (known := _known_patient(row))}
    return [
        row
        for row in rows
        if _file(row) not in files
        and identify(Path(volume_of(row.path)), _known_patient(row)) not in patients
    ]


def _file(row: Row) -> str:
    return os.path.realpath(volume_of(row.path))


def _known_patient(row: Row) -> str:
    """Empty where nobody knows whose image it is: a slice has its volume's name then."""
    return "" if row.patient_id == volume_of(row.name) else row.known_patient


def _load(rows: Sequence[Row], config: DataConfig) -> tuple[HeldOut, np.ndarray]:
    loaded = load_images([row.path for row in rows], [row.name for row in rows], config)
    patients = np.array([rows[i].patient_id for i in loaded.index], dtype=np.str_)
    slices = any(parse_slice(row.name) is not None for row in rows)
    return HeldOut(loaded.images, patients, loaded.failures, slices), loaded.index
