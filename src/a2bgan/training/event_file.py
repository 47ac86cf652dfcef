"""Logged numbers for TensorBoard, in a file that does not name the machine."""

import itertools
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

_NUMBERS = itertools.count()


class EventFile:
    """A new file of events in a folder, which is made.

    TensorBoard's own writer puts the host's name into the file's name. What earlier files hold of
    ``step`` and later steps no longer counts.
    """

    def __init__(self, folder: Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        # TensorBoard reads files with "tfevents" in the name, in the order of their names.
        name = f"events.out.tfevents.{int(time.time()):010d}.{os.getpid()}.{next(_NUMBERS)}"
        self._records = RecordWriter((folder / name).open("wb"))
        self._write(file_version="brain.Event:2")
        self._write(step=step, session_log=SessionLog(status=SessionLog.START))
        self._records.flush()

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """Log the numbers of a step, by name; readers see them at once. Raises OSError."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in numbers.items()]
        self._write(step=step, summary=Summary(value=values))
        self._records.flush()

    def close(self) -> None:
        """Write what is left, and end. Raises OSError."""
        self._records.close()

    def _write(self, **event: Any) -> None:
        self._records.write(Event(wall_time=time.time(), **event).SerializeToString())
