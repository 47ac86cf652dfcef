"""The two sets that a method learns from."""

from typing import NamedTuple, Self

import numpy as np


class TrainingSets(NamedTuple):
    """The images that training sees, and their patients; it knows nothing else of them.

    healthy, mixed: B and A, (N, C, H, W) uint8 or uint16, usually memory-mapped.
    healthy_patients, mixed_patients: (N,) identifiers.
    """

    healthy: np.ndarray
    mixed: np.ndarray
    healthy_patients: np.ndarray
    mixed_patients: np.ndarray

    @classmethod
    def of(
        cls, healthy: np.ndarray, mixed: np.ndarray, patients: tuple[np.ndarray, np.ndarray] | None
    ) -> Self:
        """Both sets; where patients are not known, every image is of another one."""
        if patients is None:
            numbers = np.arange(len(healthy) + len(mixed))
            patients = (numbers[: len(healthy)], numbers[len(healthy) :])
        return cls(healthy, mixed, *patients)
