"""Score images and volumes, one after the other."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.formats.pixel_area import pixel_area
from a2bgan.data.formats.slice_names import SliceName
from a2bgan.data.preprocessing import to_original_grid
from a2bgan.data.unit_range import to_intensities
from a2bgan.detection.decisions.calibration import intensities
from a2bgan.detection.decisions.contours import Region, find_regions, place_mask, regions
from a2bgan.detection.detection import Detection
from a2bgan.detection.inputs import Input, load_input
from a2bgan.detection.patient_scores import PATIENT_SCORES
from a2bgan.detection.pick import Pick
from a2bgan.files.ordered_work import in_order

NOT_FINITE = "no finite score"
"""Why an image that could be read has no score."""

_Read = tuple[np.ndarray, tuple[int, int]]


class Model(Protocol):
    """Scores images: a `Trained` method or an `Exported` one."""

    @property
    def pick(self) -> Pick:
        """Checkpoint, weights and score."""

    @property
    def data(self) -> DataConfig:
        """Preprocessing of images."""

    @property
    def batch_size(self) -> int:
        """Best number of images to look at together."""

    @property
    def fingerprint(self) -> str:
        """Text that is the same only for the same weights, precision and runtime."""

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        """A Detection for each batch of preprocessed images (N, C, H, W), uint8 or uint16; batches
        are taken as they are needed."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A scored image or volume, or the reason why it has no score.

    image, twin: (C, H, W) in [0, 1]; anomaly_map: (H, W), 0 or more; for a volume, those of one
        slice. None with an error, and where the method makes none.
    error: why there is no score; passing: the reason lies outside the file (`PassingImageError`),
        so a later try may succeed.
    slices: (3, n) score, mean and standard deviation of each slice of a volume.
    volume_map: (X, Y, Z) along RAS+ axes; volume_mask: the same, bool.
    mask: (H, W) bool, the pixels of the map in regions; None without a threshold or a map.
    regions: in pixels of the original image, by its name or by the names of slices that have any.
    pixel_area: of such a pixel in mm2, where there are regions and it is known.
    shape: height and width of the original image, or of the slice that stands for a volume.
    slice_shown: of a volume, the slice that image, twin, map and mask are of.
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
    mask: np.ndarray | None = None
    regions: Mapping[str, Sequence[Region]] | None = None
    pixel_area: float | None = None
    volume_mask: np.ndarray | None = None
    shape: tuple[int, int] | None = None
    slice_shown: Input | None = None

    @property
    def shown(self) -> Input:
        """The input, or the slice of it, that image, twin, map and mask show."""
        return self.slice_shown or self.input

    @classmethod
    def of(
        cls, batch: Detection, k: int, item: Input, pixel_threshold: float | None = None
    ) -> Self:
        """The prediction for image ``k`` of a batch, with the mask of its regions but without the
        regions, which need the shape of the original."""
        anomaly_map = None if batch.anomaly_map is None else batch.anomaly_map[k]
        mask = None
        if anomaly_map is not None and pixel_threshold is not None:
            mask = find_regions(anomaly_map, pixel_threshold)
        return cls(
            item,
            float(batch.scores[k]),
            to_intensities(batch.x[k]),
            None if batch.twin is None else to_intensities(batch.twin[k]),
            anomaly_map,
            mask=mask,
        )


def predict(
    model: Model, inputs: Iterable[Input], pixel_threshold: float | None = None
) -> Iterator[Prediction]:
    """Score inputs in order, volumes by their slices; the next files are read meanwhile.

    A file that cannot be read, or has no finite score, is a Prediction with an error; it never
    stops the others.

    pixel_threshold: of the calibration; without it there are no regions.
    """
    score = partial(_predict_images, model, pixel_threshold=pixel_threshold)
    for volumes, group in groupby(
        inputs, lambda item: item.picture is None and is_volume(item.path)
    ):
        if not volumes:
            yield from score(group)
            continue
        for item in group:
            yield predict_volume(score, item, model.data, model.pick.patients)


def _predict_images(
    model: Model, inputs: Iterable[Input], pixel_threshold: float | None
) -> Iterator[Prediction]:
    waiting: deque[tuple[Input, tuple[int, int] | ImageError]] = deque()
    """Inputs read and not yet given back, with the original's height and width or the error."""

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
    """Add the shape of the original, and the regions of the mask in it."""
    prediction = replace(prediction, shape=shape)
    if prediction.mask is None or prediction.anomaly_map is None:
        return prediction
    place = partial(to_original_grid, height=shape[0], width=shape[1], config=config)
    found = regions(prediction.mask, prediction.anomaly_map, place)
    known = found and prediction.input.picture is None
    area = pixel_area(prediction.input.path) if known else None
    return replace(prediction, regions={prediction.input.name: found}, pixel_area=area)


def _failed(item: Input, error: ImageError) -> Prediction:
    return Prediction(item, error=str(error), passing=isinstance(error, PassingImageError))


def _read_ahead(
    inputs: Iterable[Input], config: DataConfig, batch_size: int
) -> Iterator[tuple[Input, _Read | ImageError]]:
    """Each input with its preprocessed image and original height and width, or with the error."""

    def read(item: Input) -> tuple[Input, _Read | ImageError]:
        try:
            return item, load_input(item, config)
        except ImageError as error:
            return item, error

    # Decoding and resizing release the interpreter lock.
    threads = os.cpu_count() or 1
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, read, inputs, ahead=2 * batch_size + threads)


def predict_volume(
    score: Callable[[Iterable[Input]], Iterator[Prediction]],
    item: Input,
    config: DataConfig,
    rule: str,
) -> Prediction:
    """Score a volume by its slices, and put their maps and regions back to their places.

    Image, twin, map and mask are those of the slice with the highest score; ``volume_map`` and
    ``volume_mask`` are 0 where slices were left out or could not be used.

    Args:
        score: scores slices.
        rule: one of `PATIENT_SCORES`.
    """
    from a2bgan.data.formats.volumes import (
        as_voxels,
        chosen_slices,
        forget_volumes,
        pixel_side,
        read_volume,
        slice_at,
        square_pixel_shape,
    )

    axis = config.volume_axis
    try:
        volume = read_volume(item.path)
    except ImageError as error:
        return Prediction(item, error=str(error))
    places = chosen_slices(volume, axis, config.slices, config.skip_empty)
    if not places:
        return Prediction(item, error="no slice left by data.slices and data.skip_empty")

    def part(k: int) -> Input:
        name, path = (str(SliceName(str(whole), axis, k)) for whole in (item.name, item.path))
        return Input(name, Path(path), item.patient_id)

    height, width = square_pixel_shape(volume, axis)
    shape = volume.values.shape

    def place(picture: np.ndarray) -> np.ndarray:
        return as_voxels(to_original_grid(picture, height, width, config), axis, shape)

    volume_map: np.ndarray | None = None
    volume_mask: np.ndarray | None = None
    in_slices: dict[str, Sequence[Region]] = {}
    best: Prediction | None = None
    reason = ""
    columns = []
    for k, found in zip(places, score(map(part, places)), strict=True):
        if found.score is None or found.image is None:
            reason = found.error
            continue
        (mean,), (deviation,) = intensities(found.image[None])
        columns.append((found.score, mean, deviation))
        if found.anomaly_map is not None:
            if volume_map is None:
                volume_map = np.zeros(shape, dtype=np.float32)
            volume_map[slice_at(axis, k)] = place(found.anomaly_map)
        if found.mask is not None and found.regions is not None:
            if volume_mask is None:
                volume_mask = np.zeros(shape, dtype=bool)
            volume_mask[slice_at(axis, k)] = place_mask(found.mask, place)
            in_slices |= {name: inside for name, inside in found.regions.items() if inside}
        if best is None or best.score is None or found.score > best.score:
            best = found
    forget_volumes()
    if best is None:
        return Prediction(item, error=f"none of {len(places)} slices can be used ({reason})")
    slices = np.array(columns, dtype=np.float64).T
    return replace(
        best,
        input=item,
        score=PATIENT_SCORES[rule](slices[0]),
        slices=slices,
        volume_map=volume_map,
        regions=None if volume_mask is None else in_slices,
        pixel_area=pixel_side(volume, axis) ** 2,
        volume_mask=volume_mask,
        slice_shown=best.input,
    )
