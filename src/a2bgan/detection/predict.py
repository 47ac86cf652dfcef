"""Score any files: images, folders of images, or a manifest."""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache, partial
from itertools import groupby, islice
from pathlib import Path

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.image_search import images_below
from a2bgan.data.formats.kinds import is_dicom, is_volume
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.data.manifest import read_manifest
from a2bgan.data.pixel_area import pixel_area
from a2bgan.data.preprocessing import load_with_shape, to_original_grid
from a2bgan.data.pseudonyms import identify
from a2bgan.detection.contours import regions
from a2bgan.detection.prediction import NOT_FINITE, Input, Model, Prediction
from a2bgan.detection.volume_prediction import predict_volume
from a2bgan.errors import InputError
from a2bgan.files.ordered_work import in_order

_Read = tuple[np.ndarray, tuple[int, int]]


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
    """A manifest's row by a name, and by a patient who is but a volume's name, that no other
    manifest has."""
    whose = str(folder / patient) if patient == volume_of(name) else patient
    return str(folder / name), path, whose


def predict(
    model: Model, inputs: Iterable[Input], pixel_threshold: float | None = None
) -> Iterator[Prediction]:
    """Score inputs in order, volumes by their slices; files of the next batches are read while
    one is judged.

    A file that cannot be read, or has no finite score, is a Prediction with an error; it never
    stops the others. ``pixel_threshold``: of the calibration; without it there are no regions.
    """

    def judge(images: Iterable[Input]) -> Iterator[Prediction]:
        return _predict_images(model, images, pixel_threshold)

    for volumes, group in groupby(inputs, lambda item: is_volume(item.path)):
        if not volumes:
            yield from judge(group)
            continue
        for item in group:
            yield predict_volume(judge, item, model.data, model.pick.patients)


def _predict_images(
    model: Model, inputs: Iterable[Input], pixel_threshold: float | None
) -> Iterator[Prediction]:
    waiting: deque[tuple[Input, tuple[int, int] | ImageError]] = deque()
    """What was read and not yet given back; with the original's height and width, or with the
    reason why it cannot be judged."""

    def batches() -> Iterator[np.ndarray]:
        images_read = _read_ahead(inputs, model.data, model.batch_size)
        while group := list(islice(images_read, model.batch_size)):
            images = []
            for item, found in group:
                if isinstance(found, ImageError):
                    waiting.append((item, found))
                else:
                    waiting.append((item, found[1]))
                    images.append(found[0])
            if images:
                yield np.stack(images)

    for batch in model.detect(batches()):
        for k in range(len(batch.scores)):
            item, shape = waiting.popleft()
            while isinstance(shape, ImageError):
                yield _failed(item, shape)
                item, shape = waiting.popleft()
            if np.isfinite(float(batch.scores[k])):
                prediction = Prediction.of(batch, k, item, pixel_threshold)
                yield _with_regions(prediction, shape, model.data)
            else:
                yield Prediction(item, error=NOT_FINITE)
    for item, error in waiting:
        assert isinstance(error, ImageError)
        yield _failed(item, error)


def _with_regions(prediction: Prediction, shape: tuple[int, int], config: DataConfig) -> Prediction:
    """The same with the regions of its mask in an original image of this height and width."""
    if prediction.mask is None or prediction.anomaly_map is None:
        return prediction
    place = partial(to_original_grid, height=shape[0], width=shape[1], config=config)
    found = regions(prediction.mask, prediction.anomaly_map, place)
    area = pixel_area(prediction.input.path) if found else None
    return replace(prediction, regions={prediction.input.name: found}, pixel_area=area)


def _failed(item: Input, error: ImageError) -> Prediction:
    return Prediction(item, error=str(error), passing=isinstance(error, PassingImageError))


def _read_ahead(
    inputs: Iterable[Input], config: DataConfig, batch_size: int
) -> Iterator[tuple[Input, _Read | ImageError]]:
    """Each input with its preprocessed image and the height and width it had, or with the reason
    why there is none."""

    def read(item: Input) -> tuple[Input, _Read | ImageError]:
        try:
            return item, load_with_shape(item.path, config)
        except ImageError as error:
            return item, error

    # Decoding and resizing release the interpreter lock.
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, read, inputs, ahead=2 * batch_size + threads)
