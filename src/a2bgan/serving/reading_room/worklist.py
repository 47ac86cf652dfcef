"""The worklist: filters, search and order over all cases at once."""

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.formats.slice_names import volume_of
from a2bgan.report.case_facts import slice_text
from a2bgan.serving.reading_room.cases import Case
from a2bgan.serving.reading_room.operating_points import flagged
from a2bgan.serving.reading_room.room import Room

Show = Literal[
    "all", "flagged", "unflagged", "changed", "unread", "normal", "abnormal", "unsure", "failed"
]
Sort = Literal["score", "-score", "number"]


class Worklist:
    """The cases of a room with their p-values, (N,)."""

    def __init__(self, room: Room, p: np.ndarray) -> None:
        self._room = room
        self._cases: list[Case] = [] if room.cases is None else room.cases.cases
        self._p = p
        self._text = [f"{k + 1} {c.name} {c.patient}".lower() for k, c in enumerate(self._cases)]
        scores = np.array([np.nan if c.score is None else c.score for c in self._cases])
        self._failed = np.isnan(scores)
        self._unfamiliar: dict[int, bool] = {}
        self._orders = {
            "-score": np.argsort(-scores, kind="stable"),  # NaN comes last either way
            "score": np.argsort(scores, kind="stable"),
            "number": np.arange(len(scores)),
        }

    def find(self, q: str, show: Show, sort: Sort, rate: float) -> list[int]:
        """Numbers of the cases to show, in order: those whose number, name or patient have all
        words of ``q`` in them. rate: of healthy patients flagged."""
        keep = self._shown(show, rate)
        found: list[int] = self._orders[sort][keep[self._orders[sort]]].tolist()
        words = q.lower().split()
        if words:
            found = [k for k in found if all(word in self._text[k] for word in words)]
        return found

    def row(self, number: int, rate: float) -> dict[str, Any]:
        """A case as the browser gets it, with its verdict, if there is one.

        ``flagged`` at this rate; ``changed`` where that is not so at the room's; ``unfamiliar``
        where it looks like none of training.
        """
        case, p = self._cases[number], float(self._p[number])
        verdict = self._room.verdicts.get(case.digest)
        now, before = (bool(flagged(self._p[number], r)) for r in (rate, self._room.rate))
        return {
            "number": number,
            "name": case.name,
            "slice": slice_text(f"{volume_of(case.name)}{case.slice}"),
            "patient": "" if case.patient == case.name else case.patient,
            "score": case.score,
            "p_value": None if np.isnan(p) else p,
            "flagged": now,
            "changed": now != before,
            "peak": case.peak,
            "unfamiliar": case.score is not None and self._looks_unfamiliar(number),
            "error": case.error,
            "answer": None if verdict is None else verdict.answer,
            "note": "" if verdict is None else verdict.note,
        }

    def _looks_unfamiliar(self, number: int) -> bool:
        calibration, cases = self._room.calibration, self._room.cases
        if number not in self._unfamiliar and calibration is not None and cases is not None:
            found = calibration.unfamiliar(cases.image(number)[np.newaxis])
            self._unfamiliar[number] = found is not None and bool(found[0])
        return self._unfamiliar.get(number, False)

    def _shown(self, show: Show, rate: float) -> NDArray[np.bool_]:
        now = flagged(self._p, rate)
        by_score: dict[str, NDArray[np.bool_]] = {
            "all": np.ones(len(self._cases), dtype=bool),
            "failed": self._failed,
            "flagged": now,
            "unflagged": ~now & ~self._failed,
            "changed": now != flagged(self._p, self._room.rate),
        }
        if show in by_score:
            return by_score[show]
        verdicts = [self._room.verdicts.get(case.digest) for case in self._cases]
        wanted = None if show == "unread" else show
        answers = [None if verdict is None else verdict.answer for verdict in verdicts]
        return np.array([answer == wanted for answer in answers], dtype=bool)
