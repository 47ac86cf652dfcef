"""Score any files: images, folders of images, or a manifest."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from a2bgan.data.batches import to_intensities
from a2bgan.data.manifest import identify, read_manifest
from a2bgan.data.preprocessing import load_image
from a2bgan.data.readers import ImageError, is_image
from a2bgan.detection.detect import BATCH_SIZE, detect
from a2bgan.detection.trained import Trained
from a2bgan.errors import InputError


@dataclass(frozen=True, slots=True)
class Input:
    """An image to score: the name it gets in the results, where it lies, whose it is ("" where
    nobody knows)."""

    name: str
    path: Path
    patient_id: str


@dataclass(frozen=True, slots=True)
class Prediction:
    """One scored image, or the reason why it could not be.

    image, twin: (C, H, W) in [0, 1]; anomaly_map: (H, W), 0 or more. None with an error; twin and
    map also where the method makes none.
    """

    input: Input
    score: float | None = None
    image: np.ndarray | None = None
    twin: np.ndarray | None = None
    anomaly_map: np.ndarray | None = None
    error: str = ""


def find_inputs(sources: Sequence[Path], *, keep_identifiers: bool = False) -> list[Input]:
    """What to score: files as they are given, images below folders, what a DICOMDIR lists, rows of
    manifests (.csv).

    Folders are searched for images; a file that is named is always tried. Patients are those of
    manifests or of DICOM files, as pseudonyms unless `keep_identifiers`. Raises InputError.
    """
    inputs: list[Input] = []
    for source in sources:
        if source.is_dir():
            files = sorted(Path(f, name) for f, _, names in os.walk(source) for name in names)
            images = [path for path in files if is_image(path)]
            if not images:
                raise InputError(f"{source}: no images in this folder")
            found = [(str(path), path, "") for path in images]
        elif source.suffix.lower() == ".csv":
            rows = read_manifest(source).rows
            found = [(row.name, row.path, row.known_patient) for row in rows]
        elif source.name.upper() == "DICOMDIR":
            from a2bgan.data.dicom import read_dicomdir  # pydicom takes a while

            found = [(str(path), path, "") for path in read_dicomdir(source)]
        else:
            found = [(str(source), source, "")]
        inputs += [Input(n, path, identify(path, who, keep_identifiers)) for n, path, who in found]
    return inputs


def predict(trained: Trained, inputs: Sequence[Input]) -> Iterator[Prediction]:
    """Score inputs in order, reading a batch at a time. A file that cannot be read is a
    Prediction with an error; it never stops the others."""
    config = trained.config.data
    for start in range(0, len(inputs), BATCH_SIZE):
        group = inputs[start : start + BATCH_SIZE]
        images: list[np.ndarray] = []
        errors: dict[int, str] = {}
        for i, item in enumerate(group):
            try:
                images.append(load_image(item.path, config))
            except ImageError as error:
                errors[i] = str(error)
        if images:
            pick = trained.pick
            (batch,) = detect(trained.method, np.stack(images), pick.score, pick.version)
        place = 0
        for i, item in enumerate(group):
            if i in errors:
                yield Prediction(item, error=errors[i])
                continue
            yield Prediction(
                item,
                float(batch.scores[place]),
                to_intensities(batch.x[place]),
                None if batch.twin is None else to_intensities(batch.twin[place]),
                None if batch.anomaly_map is None else batch.anomaly_map[place].numpy(),
            )
            place += 1
