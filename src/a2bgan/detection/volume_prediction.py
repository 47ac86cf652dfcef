"""Score a volume by its slices and put their maps back where they are of."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from a2bgan.data.preprocessing import DataConfig, to_original_grid
from a2bgan.data.readers import ImageError
from a2bgan.data.slice_names import SliceName
from a2bgan.detection.calibration import intensities
from a2bgan.detection.patient_scores import PATIENT_SCORES
from a2bgan.detection.prediction import Input, Prediction

Judge = Callable[[Iterable[Input]], Iterator[Prediction]]


def predict_volume(judge: Judge, item: Input, config: DataConfig, rule: str) -> Prediction:
    """One volume: its patient score, picture and map, or the reason why there are none.

    judge: scores slices. rule: one of `PATIENT_SCORES`. Image, twin and map are those of the slice
    with the highest score; ``volume_map`` is 0 where slices were left out or could not be used.
    """
    from a2bgan.data.volumes import (
        chosen_slices,
        forget_volumes,
        place_slice,
        read_volume,
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
        path = Path(str(SliceName(str(item.path), axis, k)))
        return Input(f"{item.name}, slice {k}", path, item.patient_id)

    height, width = square_pixel_shape(volume, axis)
    mapped: np.ndarray | None = None
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
                mapped = np.zeros(volume.values.shape, dtype=np.float32)
            picture = to_original_grid(found.anomaly_map, height, width, config)
            place_slice(mapped, axis, k, picture)
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
    )
