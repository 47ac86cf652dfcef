"""Verdicts of a reader, in SQLite; as a CSV file that `a2bgan select --by labels` takes."""

import csv
import io
import sqlite3
import threading
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from a2bgan.errors import InputError
from a2bgan.report.written_names import no_formula
from a2bgan.serving.reading_room.cases import Case

Answer = Literal["normal", "abnormal", "unsure"]
LABELS: dict[Answer | None, str] = {"normal": "0", "abnormal": "1", "unsure": "", None: ""}
COLUMNS = ("path", "split", "label", "patient_id", "verdict", "note", "score", "read_at")


class DiskFullError(Exception):
    """Nothing was saved: there is no room, or the disk cannot be written."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """answer: None for a note alone; read_at: when it was last changed, UTC."""

    answer: Answer | None
    note: str
    read_at: str


class Verdicts:
    """Verdicts by the SHA-256 of the image's file: they follow an image that is moved or renamed.

    The database holds no name of a patient or of a file, unless a note does. Raises InputError if
    it cannot be opened.
    """

    def __init__(self, file: Path) -> None:
        # One connection, used in turn by the server's threads.
        self._lock = threading.Lock()
        try:
            self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            self._connection.execute(
                "CREATE TABLE IF NOT EXISTS verdicts (digest TEXT PRIMARY KEY, answer TEXT CHECK "
                "(answer IN ('normal', 'abnormal', 'unsure')), note TEXT NOT NULL, "
                "read_at TEXT NOT NULL) WITHOUT ROWID"
            )
            rows = self._connection.execute("SELECT digest, answer, note, read_at FROM verdicts")
            self._known = {digest: Verdict(*rest) for digest, *rest in rows}
        except sqlite3.Error as error:
            raise InputError(
                f"{file}: verdicts cannot be kept here ({error}); choose another --room"
            ) from None

    def close(self) -> None:
        self._connection.close()

    def get(self, digest: str) -> Verdict | None:
        """The verdict on an image by its digest; None where nobody has read it."""
        return self._known.get(digest)

    def put(self, digest: str, answer: Answer | None, note: str) -> None:
        """Keep a verdict, or forget it where both are empty. Raises DiskFullError."""
        verdict = Verdict(answer, note, datetime.now(UTC).isoformat(timespec="seconds"))
        emptied = answer is None and not note
        with self._lock:
            try:
                if emptied:
                    self._connection.execute("DELETE FROM verdicts WHERE digest = ?", (digest,))
                else:
                    self._connection.execute(
                        "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)",
                        (digest, answer, note, verdict.read_at),
                    )
            except sqlite3.OperationalError:
                raise DiskFullError from None
            if emptied:
                self._known.pop(digest, None)
            else:
                self._known[digest] = verdict

    def as_csv(self, cases: list[Case]) -> str:
        """A manifest of the cases that were read, with their verdicts; unsure has no label."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for case in cases:
            if (verdict := self.get(case.digest)) is None:
                continue
            score = "" if case.score is None else f"{case.score:.6f}"
            table.writerow(
                # Not the name: `select` finds the image by it.
                (case.name, "test", LABELS[verdict.answer], no_formula(case.patient),
                 verdict.answer or "", no_formula(verdict.note), score, verdict.read_at)
            )  # fmt: skip
        return text.getvalue()
