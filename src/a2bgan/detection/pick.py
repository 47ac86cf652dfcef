"""Checkpoint, weights and score that a trained method is used with."""

from dataclasses import dataclass, replace
from typing import Any

from a2bgan.detection.patient_scores import DEFAULT_PATIENT_SCORE


@dataclass(frozen=True, slots=True)
class Pick:
    """The checkpoint, the version of its weights and the score that a run is used with.

    rule: by which it was picked, see `selection`.
    patients: how images of a patient become one score, see `a2bgan.detection.patient_scores`.
    map_score: the best score of the map; None where it is not known.
    """

    checkpoint: str
    version: str
    score: str
    rule: str
    patients: str = DEFAULT_PATIENT_SCORE
    map_score: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Pick":
        """The reverse of `asdict`, as read from JSON. Raises TypeError."""
        if not all(isinstance(value, str | None) for value in values.values()):
            raise TypeError("a pick is texts")
        return cls(**values)


def same_scores(one: Pick, other: Pick) -> bool:
    """True where two picks give the same scores, whatever rule picked them."""
    return replace(one, rule=other.rule, map_score=other.map_score) == other
