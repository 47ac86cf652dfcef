"""The held-out images of a run, loaded: what decisions without labels are made with."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from a2bgan.data.cache.images import Failure, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.slice_names import parse_slice, volume_of
from a2bgan.data.holdout import Holdout, Part
from a2bgan.data.leaks import Leak, describe_leaks, find_leaks
from a2bgan.data.manifest import Row
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
    """The rows whose image and patient are neither in the run's healthy nor in its mixed set."""
    learned = {leak.row.name for leak in _learned(run, rows)}
    return [row for row in rows if row.name not in learned]


def describe_learned(run: RunFolder, rows: Sequence[Row], name: str) -> list[str]:
    """A sentence for each kind of what rows, called ``name``, share with what the run learned from;
    none of a run that was trained on arrays."""
    if not run.manifest_source_file.exists():
        return []
    return describe_leaks(_learned(run, rows), "the sets that the run learned from", name)


def _learned(run: RunFolder, rows: Sequence[Row]) -> list[Leak]:
    manifest = run.noted_manifest()
    return find_leaks([*manifest.split("healthy"), *manifest.split("mixed")], rows)


def _load(rows: Sequence[Row], config: DataConfig) -> tuple[HeldOut, np.ndarray]:
    loaded = load_images([row.path for row in rows], [row.name for row in rows], config)
    patients = np.array([rows[i].patient_id for i in loaded.index], dtype=np.str_)
    slices = any(parse_slice(row.name) is not None for row in rows)
    return HeldOut(loaded.images, patients, loaded.failures, slices), loaded.index
