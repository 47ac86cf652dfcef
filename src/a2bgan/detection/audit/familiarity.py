"""Recognise images of another kind than a model learned from.

An inverted or turned film, another body part, noise or a screenshot gets a score that means
nothing. Such images lie far from all images of training, even in features as coarse as brightness
and contrast on a grid.
"""

import base64
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.image_statistics import scaled
from a2bgan.detection.measures import conformal

GRID = 8
"""Cells a side; the brightness and contrast of each describe an image."""

NEAREST = 3
"""Number of nearest images of training whose mean distance counts."""

REFERENCES = 400
"""Most images of training that are kept, at most half of them from each set."""

RATE = 0.01
"""Largest p-value of an unfamiliar image, and so the share of ordinary images that are called so.
With too few references for that, an image is unfamiliar when it is further away than any."""

FEWEST_PATIENTS = 50
"""Fewest patients of references with which anything is called unfamiliar."""

_LEVELS = 255


@dataclass(frozen=True, slots=True)
class Familiarity:
    """Descriptors of images of training, and how far each is from the others.

    references: (R, 2 GRID GRID) in [0, 1], see `describe`; distances: (R,), of each to the nearest
    ones of other patients, ascending.
    """

    references: NDArray[np.float32]
    distances: NDArray[np.float64]

    def p_values(self, images: NDArray[Any]) -> NDArray[np.float64]:
        """Conformal p-values (N,) of preprocessed images (N, C, H, W), integers or in [0, 1]: low
        where an image is unlike all of training."""
        return conformal.p_values(self.distances, _nearest(describe(images), self.references))

    def unfamiliar(self, images: NDArray[Any]) -> NDArray[np.bool_]:
        """(N,), see `RATE`."""
        rate = max(RATE, 1 / (len(self.distances) + 1))
        found: NDArray[np.bool_] = self.p_values(images) <= rate
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return the values that `from_dict` takes, for JSON."""
        levels = np.rint(self.references * _LEVELS).astype(np.uint8)
        return {
            "references": base64.b64encode(levels.tobytes()).decode("ascii"),
            "distances": self.distances.tolist(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Familiarity":
        """Reverse `as_dict`. Raises ValueError, KeyError or TypeError."""
        levels = np.frombuffer(base64.b64decode(values["references"]), np.uint8)
        distances = np.array(values["distances"], dtype=np.float64)
        references = levels.reshape(len(distances), 2 * GRID * GRID).astype(
            np.float32
        ) / np.float32(_LEVELS)
        return cls(references, distances)


def learn_familiarity(images: NDArray[Any], patients: NDArray[np.str_]) -> Familiarity | None:
    """Describe images of training; None for too few patients.

    images: (N, C, H, W) preprocessed, of both sets; patients: (N,).
    """
    if len(np.unique(patients)) < FEWEST_PATIENTS:
        return None
    # Rounded as in a file, so that a model that is read back gives the same results.
    references = np.rint(describe(images) * _LEVELS).astype(np.float32) / np.float32(_LEVELS)
    same = patients[:, None] == patients[None]
    return Familiarity(references, np.sort(_nearest(references, references, same)))


def drawn(count: int, most: int = REFERENCES // 2) -> NDArray[np.int64]:
    """Draw the images of a set that are kept as references: at most ``most`` of ``count``."""
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def describe(images: NDArray[Any]) -> NDArray[np.float32]:
    """(N, 2 GRID GRID) in [0, 1]: mean of each cell, and twice its standard deviation.

    images: (N, C, H, W), uint8, uint16 or floats in [0, 1]; channels are averaged, and rows and
    columns left over at the end are ignored.
    """
    grey = scaled(images).astype(np.float32, copy=False).mean(1)
    rows, columns = (side // GRID for side in grey.shape[1:])
    cells = grey[:, : GRID * rows, : GRID * columns]
    cells = cells.reshape(len(grey), GRID, rows, GRID, columns)
    parts = cells.mean((2, 4)), np.minimum(2 * cells.std((2, 4)), 1)
    found: NDArray[np.float32] = np.concatenate([part.reshape(len(grey), -1) for part in parts], 1)
    return found


def _nearest(
    ones: NDArray[np.float32], others: NDArray[np.float32], same: NDArray[np.bool_] | None = None
) -> NDArray[np.float64]:
    """Mean distance (N,) of descriptors to the nearest others, except pairs in ``same``."""
    squares = (ones**2).sum(1)[:, None] + (others**2).sum(1) - 2 * ones @ others.T
    distances = np.sqrt(np.maximum(squares, 0)).astype(np.float64)
    if same is not None:
        distances[same] = np.inf
    nearest: NDArray[np.float64] = np.sort(distances, 1)[:, :NEAREST].mean(1)
    return nearest
