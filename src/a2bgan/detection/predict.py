"""Score any files: images, folders of images, or a manifest."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol

import numpy as np

from a2bgan.data.batches import to_intensities
from a2bgan.data.image_search import images_below
from a2bgan.data.manifest import identify, read_manifest
from a2bgan.data.ordered_work import in_order
from a2bgan.data.preprocessing import DataConfig, load_image
from a2bgan.data.readers import ImageError, PassingImageError, is_dicom, is_volume
from a2bgan.data.slice_names import volume_of
from a2bgan.detection.detect import Detection
from a2bgan.detection.trained import Pick
from a2bgan.detection.volume_prediction import predict_volume
from a2bgan.errors import InputError


class Model(Protocol):
    """What scores images: a `Trained` method or an `Exported` one."""

    @property
    def pick(self) -> Pick:
        """Checkpoint, weights and score."""

    @property
    def data(self) -> DataConfig:
        """How images are preprocessed."""

    @property
    def batch_size(self) -> int:
        """Images that are best judged together."""

    @property
    def fingerprint(self) -> str:
        """The same text from the same weights in the same precision and runtime, and from no
        others."""

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        """Judge batches of preprocessed images (N, C, H, W), uint8 or uint16, taken as they are
        needed; a Detection of each."""


@dataclass(frozen=True, slots=True)
class Input:
    """An image to score: the name it gets in the results, where it lies, whose it is ("" where
    nobody knows)."""

    name: str
    path: Path
    patient_id: str

    @property
    def person(self) -> str:
        """What tells patients apart: where nobody knows whose it is, each image (or volume) is its
        own, by its place, because images of several manifests may share a name."""
        return self.patient_id or os.path.abspath(volume_of(self.path))


@dataclass(frozen=True, slots=True)
class Prediction:
    """One scored image or volume, or the reason why it could not be.

    image, twin: (C, H, W) in [0, 1]; anomaly_map: (H, W), 0 or more. None with an error; twin and
    map also where the method makes none. Of a volume they are those of one slice; slices: (3, n)
    score, mean and standard deviation of each; volume_map: (X, Y, Z) along RAS+ axes. passing: the
    reason lies outside the file (see `PassingImageError`): another time it may be scored.
    """

    input: Input
    score: float | None = None
    image: np.ndarray | None = None
    twin: np.ndarray | None = None
    anomaly_map: np.ndarray | None = None
    error: str = ""
    slices: np.ndarray | None = None
    volume_map: np.ndarray | None = None
    passing: bool = False


def find_inputs(
    sources: Sequence[Path],
    *,
    keep_identifiers: bool = False,
    series: bool = False,
    results: Sequence[Path] = (),
) -> list[Input]:
    """What to score: files as they are given, images below folders, what a DICOMDIR lists, rows of
    manifests (.csv).

    Folders are searched for images, see `images_below`; a file that is named is always tried.
    Names of manifests are theirs, after the manifest's folder where there are several sources.
    Patients are those of manifests or of DICOM files, as pseudonyms unless `keep_identifiers`.
    `series`: DICOM files of a folder are one volume, the folder. `results`: folders that results
    are written to; where one lies below a folder that is searched, it is passed over. Raises
    InputError.
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
            from a2bgan.data.dicom import read_dicomdir  # pydicom takes a while

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
    """A manifest's row by a name, and by a patient who is but a volume's name, that no other
    manifest has."""
    whose = str(folder / patient) if patient == volume_of(name) else patient
    return str(folder / name), path, whose


def predict(model: Model, inputs: Iterable[Input]) -> Iterator[Prediction]:
    """Score inputs in order, volumes by their slices; files of the next batches are read while
    one is judged.

    A file that cannot be read is a Prediction with an error; it never stops the others.
    """

    def judge(images: Iterable[Input]) -> Iterator[Prediction]:
        return _predict_images(model, images)

    for volumes, group in groupby(inputs, lambda item: is_volume(item.path)):
        if not volumes:
            yield from judge(group)
            continue
        for item in group:
            yield predict_volume(judge, item, model.data, model.pick.patients)


def _predict_images(model: Model, inputs: Iterable[Input]) -> Iterator[Prediction]:
    waiting: deque[tuple[Input, ImageError | None]] = deque()
    """What was read and not yet given back; with the reason why it cannot be judged, or None."""

    def batches() -> Iterator[np.ndarray]:
        images_read = _read_ahead(inputs, model.data, model.batch_size)
        while group := list(islice(images_read, model.batch_size)):
            for item, image in group:
                waiting.append((item, image if isinstance(image, ImageError) else None))
            images = [image for _, image in group if not isinstance(image, ImageError)]
            if images:
                yield np.stack(images)

    for found in _judged(model, batches()):
        while (reason := waiting[0][1]) is not None:
            yield _failed(waiting.popleft()[0], reason)
        yield replace(found, input=waiting.popleft()[0])
    for item, error in waiting:
        assert error is not None
        yield _failed(item, error)


def _failed(item: Input, error: ImageError) -> Prediction:
    return Prediction(item, error=str(error), passing=isinstance(error, PassingImageError))


def _judged(model: Model, batches: Iterable[np.ndarray]) -> Iterator[Prediction]:
    """Of every image, still without its input."""
    for batch in model.detect(batches):
        for k in range(len(batch.scores)):
            yield Prediction(
                Input("", Path(), ""),
                float(batch.scores[k]),
                to_intensities(batch.x[k]),
                None if batch.twin is None else to_intensities(batch.twin[k]),
                None if batch.anomaly_map is None else batch.anomaly_map[k].numpy(),
            )


def _read_ahead(
    inputs: Iterable[Input], config: DataConfig, batch_size: int
) -> Iterator[tuple[Input, np.ndarray | ImageError]]:
    """Each input with its preprocessed image, or with the reason why there is none."""

    def read(item: Input) -> tuple[Input, np.ndarray | ImageError]:
        try:
            return item, load_image(item.path, config)
        except ImageError as error:
            return item, error

    # Decoding and resizing release the interpreter lock.
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, read, inputs, ahead=2 * batch_size + threads)
