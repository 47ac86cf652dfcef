"""The images of a run, loaded by set and part."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from a2bgan.data.cache.images import CachedImages, Failure, load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.slice_names import parse_slice, volume_of
from a2bgan.data.holdout import Holdout, Part
from a2bgan.data.leaks import Leak, describe_leaks, find_leaks, same_files
from a2bgan.data.manifest import Row
from a2bgan.detection.inputs import Input
from a2bgan.errors import InputError
from a2bgan.training.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class ImageSet:
    """Preprocessed images (N, C, H, W), uint8 or uint16, their patients (N,), and unreadable files.

    slices: whether they are slices of volumes, so that patients are compared, not images.
    """

    images: np.ndarray
    patients: np.ndarray
    failures: Sequence[Failure] = ()
    slices: bool = False

    def __len__(self) -> int:
        return len(self.images)


class RunImages:
    """The healthy and the mixed images of a run by part; labels are not looked at.

    Args:
        rows: from a split ("healthy" or "mixed") and a part to the rows that belong to both.
        load: from rows to their images.
        limit: most images of each set to select by.
    """

    def __init__(
        self,
        rows: Callable[[str, Part], Sequence[Row]],
        load: Callable[[Sequence[Row]], ImageSet],
        limit: int,
    ) -> None:
        self.rows = rows
        self._load = load
        self._limit = limit
        self._loaded: dict[tuple[str, Part, int | None], ImageSet] = {}

    @classmethod
    def of_run(cls, run: RunFolder) -> Self:
        """Raises InputError if the manifest, its images or the list of held-out ones are gone."""
        manifest, holdout, config = run.manifest(), Holdout.read(run.holdout_file), run.config()

        def rows(split: str, part: Part) -> Sequence[Row]:
            return holdout.rows(manifest, split, part)

        return cls(rows, lambda rows: _image_set(rows, config.data)[0], config.selection.images)

    def part(self, split: str, part: Part, limit: int | None = None) -> ImageSet:
        """The images of a set that belong to a part; all slices of a volume count as one image.

        limit: most images to load, drawn at random.
        """
        key = split, part, limit
        if key not in self._loaded:
            self._loaded[key] = self._load(self._drawn(split, part, limit))
        return self._loaded[key]

    def both(self, part: Part) -> tuple[ImageSet, ImageSet]:
        """Healthy and mixed images of a part, at most the limit of each."""
        return self.part("healthy", part, self._limit), self.part("mixed", part, self._limit)

    def _drawn(self, split: str, part: Part, limit: int | None) -> Sequence[Row]:
        rows = self.rows(split, part)
        volumes = list(dict.fromkeys(volume_of(row.name) for row in rows))
        if limit is None or len(volumes) <= limit:
            return rows
        drawn = np.random.default_rng(0).choice(len(volumes), limit, replace=False)
        chosen = {volumes[i] for i in drawn.tolist()}
        return [row for row in rows if volume_of(row.name) in chosen]


def load_rows(rows: Sequence[Row], config: DataConfig) -> tuple[CachedImages, list[Row]]:
    """The images of the rows that can be read, and those rows."""
    loaded = load_images([row.path for row in rows], [row.name for row in rows], config)
    return loaded, [rows[i] for i in loaded.index]


def load_labelled(rows: Sequence[Row], config: DataConfig) -> tuple[ImageSet, np.ndarray]:
    """The images of the labelled rows, and their labels (N,)."""
    found, read = _image_set([row for row in rows if row.label is not None], config)
    return found, np.array([row.label for row in read], dtype=np.int64)


def without_learned(run: RunFolder, rows: Sequence[Row]) -> list[Row]:
    """The rows whose image and patient are neither in the run's healthy nor in its mixed set."""
    learned = {leak.row.name for leak in _learned(run, rows)}
    return [row for row in rows if row.name not in learned]


def describe_learned(run: RunFolder, rows: Sequence[Row], name: str) -> list[str]:
    """Sentences on what rows, called ``name``, share with the sets that the run learned from.

    None for a run that was trained on arrays.
    """
    if not run.manifest_source_file.exists():
        return []
    return describe_leaks(_learned(run, rows), "the sets that the run learned from", name)


def count_learned(run: RunFolder, inputs: Sequence[Input]) -> int:
    """How many of the inputs are files of the sets that a run learned from, wherever they are.

    0 for a run that was trained on arrays, or whose manifest cannot be read any more.
    """
    try:
        manifest = run.noted_manifest()
    except InputError:
        return 0
    learned = [*manifest.split("healthy"), *manifest.split("mixed")]
    rows = [Row(item.name, item.path, "test", None, "", None, None) for item in inputs]
    same = same_files(learned, rows)
    return sum(volume_of(row.path) in same for row in rows)


def _learned(run: RunFolder, rows: Sequence[Row]) -> list[Leak]:
    manifest = run.noted_manifest()
    return find_leaks([*manifest.split("healthy"), *manifest.split("mixed")], rows)


def _image_set(rows: Sequence[Row], config: DataConfig) -> tuple[ImageSet, list[Row]]:
    loaded, read = load_rows(rows, config)
    patients = np.array([row.patient_id for row in read], dtype=np.str_)
    slices = any(parse_slice(row.name) is not None for row in rows)
    return ImageSet(loaded.images, patients, loaded.failures, slices), read
