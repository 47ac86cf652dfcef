"""What a trained method is used with: checkpoint, weights and score."""

from dataclasses import dataclass, replace
from typing import Any

from a2bgan.detection.patient_scores import DEFAULT_RULE


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
    patients: str = DEFAULT_RULE
    map_score: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Pick":
        """The reverse of `asdict`, as read from JSON. Raises TypeError."""
        if not all(isinstance(value, str | None) for value in values.values()):
            raise TypeError("a pick is texts")
        return cls(**values)


def same_scores(one: Pick, other: Pick) -> bool:
    """True for two picks have the same scores, by whatever rule they were picked."""
    return replace(one, rule=other.rule, map_score=other.map_score) == other
