"""Score a volume by its slices and put their maps back where they are of."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.slice_names import SliceName
from a2bgan.data.preprocessing import to_original_grid
from a2bgan.detection.calibration import intensities
from a2bgan.detection.contours import Region, place_mask
from a2bgan.detection.patient_scores import PATIENT_SCORES
from a2bgan.detection.prediction import Input, Prediction

Judge = Callable[[Iterable[Input]], Iterator[Prediction]]


def predict_volume(judge: Judge, item: Input, config: DataConfig, rule: str) -> Prediction:
    """One volume: its patient score, picture and map, or the reason why there are none.

    judge: scores slices. rule: one of `PATIENT_SCORES`. Image, twin, map and mask are those of the
    slice with the highest score; ``volume_map`` is 0, and nothing in ``volume_mask``, where slices
    were left out or could not be used.
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

    mapped: np.ndarray | None = None
    marked: np.ndarray | None = None
    regions: dict[str, Sequence[Region]] = {}
    best: Prediction | None = None
    reason = ""
    scores, means, deviations = [], [], []
    for k, found in zip(places, judge(map(part, places)), strict=True):
        if found.score is None or found.image is None:
            reason = found.error
            continue
        scores.append(found.score)
        (mean,), (deviation,) = intensities(found.image[None])
        means.append(mean)
        deviations.append(deviation)
        if found.anomaly_map is not None:
            if mapped is None:
                mapped = np.zeros(shape, dtype=np.float32)
            mapped[slice_at(axis, k)] = place(found.anomaly_map)
        if found.mask is not None and found.regions is not None:
            if marked is None:
                marked = np.zeros(shape, dtype=bool)
            marked[slice_at(axis, k)] = place_mask(found.mask, place)
            regions |= {name: of_slice for name, of_slice in found.regions.items() if of_slice}
        if best is None or best.score is None or found.score > best.score:
            best = found
    forget_volumes()
    if best is None:
        return Prediction(item, error=f"none of {len(places)} slices can be used ({reason})")
    return Prediction(
        item,
        PATIENT_SCORES[rule](np.array(scores)),
        best.image,
        best.twin,
        best.anomaly_map,
        slices=np.array([scores, means, deviations], dtype=np.float64),
        volume_map=mapped,
        mask=best.mask,
        regions=None if marked is None else regions,
        pixel_area=pixel_side(volume, axis) ** 2,
        volume_mask=marked,
    )
