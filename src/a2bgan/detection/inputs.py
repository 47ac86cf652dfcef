"""Find what to score: files, images in folders, rows of manifests."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.image_search import images_below
from a2bgan.data.formats.kinds import is_dicom
from a2bgan.data.formats.picture import Picture
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.data.manifest import read_manifest
from a2bgan.data.preprocessing import load_with_shape, preprocess
from a2bgan.data.pseudonyms import identify
from a2bgan.errors import InputError


@dataclass(frozen=True, slots=True)
class Input:
    """An image or volume to score: its name in results, its path, its patient ("" if unknown).

    picture: returns an image that is no file, by how images are preprocessed; may raise ImageError.
    """

    name: str
    path: Path
    patient_id: str
    picture: Callable[[DataConfig], Picture] | None = None

    @property
    def person(self) -> str:
        """Tells patients apart. Without a patient each image (or volume) is its own, by its place,
        because images of several manifests may share a name."""
        return self.patient_id or os.path.abspath(volume_of(self.path))


def load_input(item: Input, config: DataConfig) -> tuple[np.ndarray, tuple[int, int]]:
    """Preprocess an image, see `preprocess`; also returns its height and width before.

    Raises ImageError only.
    """
    if item.picture is None:
        return load_with_shape(item.path, config)
    with ALL_THREADS.one_image():
        picture = item.picture(config)
        height, width = picture.values.shape[:2]
        return preprocess(picture.values, config, picture.window), (height, width)


def find_inputs(
    sources: Sequence[Path],
    *,
    keep_identifiers: bool = False,
    series: bool = False,
    results: Sequence[Path] = (),
) -> list[Input]:
    """List what to score.

    Names in manifests are kept; with several sources they follow the manifest's folder. Patients
    come from manifests or DICOM files.

    Args:
        sources: files, which are always tried; folders, searched by `images_below`; a DICOMDIR;
            manifests (.csv).
        keep_identifiers: name patients as they are, not by pseudonyms.
        series: take the DICOM files of a folder as one volume, the folder.
        results: folders for results, left out of the search.

    Raises InputError.
    """
    inputs: list[Input] = []
    for source in sources:
        if os.path.isdir(source):
            images = sorted(_without(results, source, images_below(source)))
            if not images:
                raise InputError(f"{source}: no images in this folder")
            if series:
                whole = (path.parent if is_dicom(path) else path for path in images)
                images = list(dict.fromkeys(whole))
            found = [(str(path), path, "") for path in images]
        elif source.suffix.lower() == ".csv":
            rows = read_manifest(source).rows
            found = [(row.name, row.path, row.known_patient) for row in rows]
            if len(sources) > 1:
                found = [_below(source.parent, *row) for row in found]
        elif source.name.upper() == "DICOMDIR":
            from a2bgan.data.formats.dicom.header import read_dicomdir  # pydicom takes a while

            found = [(str(path), path, "") for path in read_dicomdir(source)]
        else:
            found = [(str(source), source, "")]
        inputs += [Input(n, path, identify(path, who, keep_identifiers)) for n, path, who in found]
    return inputs


def _without(results: Sequence[Path], source: Path, images: Iterable[Path]) -> Iterator[Path]:
    """The images that are in none of the folders of results below their source."""
    searched = Path(os.path.realpath(source))
    places = [Path(os.path.realpath(place)) for place in results]
    places = [place for place in places if searched in place.parents]

    @cache
    def is_result(folder: Path) -> bool:
        real = Path(os.path.realpath(folder))
        return any(place in (real, *real.parents) for place in places)

    return (path for path in images if not places or not is_result(path.parent))


def _below(folder: Path, name: str, path: Path, patient: str) -> tuple[str, Path, str]:
    """A manifest's row under a name that no other manifest has; so too a patient that is only a
    volume's name."""
    whose = str(folder / patient) if patient == volume_of(name) else patient
    return str(folder / name), path, whose
