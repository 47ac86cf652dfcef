"""What is scored, what scores it, and what comes of it."""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from a2bgan.data.batches import to_intensities
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.detection.contours import Region, find_regions
from a2bgan.detection.detect import Detection
from a2bgan.detection.trained import Pick

NOT_FINITE = "no finite score"
"""Why an image that could be read has no score."""


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

    mask: (H, W) bool, which pixels of the map are in regions; regions: these in the pixels of the
    original image, by its name, or by the names of a volume's slices that have any; pixel_area: of
    one such pixel in mm2, where there are regions and it is known; volume_mask: (X, Y, Z) bool
    along RAS+ axes. None without a threshold or a map.
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

    @classmethod
    def of(
        cls, batch: Detection, k: int, item: Input, pixel_threshold: float | None = None
    ) -> Self:
        """What was found in image ``k`` of a batch, which was read from ``item``; without its
        regions, for which the original's shape must be known, but with their mask."""
        anomaly_map = None if batch.anomaly_map is None else batch.anomaly_map[k].numpy()
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
