"""The thread of a DICOM node that sends results to an archive, until it acknowledges them."""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from a2bgan.errors import InputError
from a2bgan.serving.dicom_node.queue import Queue

FIRST_PAUSE, LONGEST_PAUSE = 1.0, 300.0
"""Seconds until the next try; doubled each time."""

_ADDRESS = re.compile(r"(?P<aet>[^@\\]{1,16})@(?P<host>\[[^\]]+\]|[^:@\[\]]+):(?P<port>\d{1,5})")


@dataclass(frozen=True, slots=True)
class Receiver:
    """Where results go."""

    aet: str
    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Receiver":
        """Read ``AET@host:port``; an IPv6 address in brackets. Raises InputError."""
        found = _ADDRESS.fullmatch(text)
        if found is None or not 0 < int(found["port"]) < 65536 or not is_ae_title(found["aet"]):
            raise InputError(
                f"--send-to {text}: not an address; give AET@host:port, as in ORTHANC@10.0.0.2:4242"
            )
        return cls(found["aet"].strip(), found["host"].strip("[]"), int(found["port"]))


def is_ae_title(text: str) -> bool:
    """True for a text that can name a node: at most 16 printable ASCII characters, no backslash."""
    return (
        0 < len(text.strip()) <= 16 and text.isascii() and text.isprintable() and "\\" not in text
    )


class Sender(threading.Thread):
    """Sends what is in the queue's outbox, until `stop` is set.

    A result leaves the outbox when the receiver has answered success (or a warning, which means
    that it keeps it). While nobody answers there is a pause, longer each time; what was refused,
    cannot be read, or makes the receiver end the association is tried again later, after all
    others.

    Args:
        aet: own AE title.
        seconds: for a connection, an answer, or a piece of data to be taken.
        log: gets one line for what went wrong, without identifiers.
    """

    def __init__(
        self,
        queue: Queue,
        receiver: Receiver,
        *,
        aet: str,
        seconds: float,
        stop: threading.Event,
        log: Callable[[str], None],
    ) -> None:
        super().__init__(name="sender", daemon=True)
        self._queue = queue
        self._receiver = receiver
        self._stop_asked = stop
        self._log = log
        self._seconds = seconds
        self._refused: dict[str, tuple[float, float]] = {}  # key: next try, pause after it
        self._entity = AE(aet)
        self._entity.acse_timeout = self._entity.dimse_timeout = seconds
        self._entity.connection_timeout = self._entity.network_timeout = seconds
        for kind in (
            SecondaryCaptureImageStorage,
            ParametricMapStorage,
            SegmentationStorage,
            ComprehensiveSRStorage,
        ):
            self._entity.add_requested_context(
                kind, [ExplicitVRLittleEndian, ImplicitVRLittleEndian]
            )

    def run(self) -> None:
        pause = FIRST_PAUSE
        while not self._stop_asked.is_set():
            keys = self._queue.wait(for_sending=True, seconds=1.0)
            due = [key for key in keys if self._refused.get(key, (0.0,))[0] <= time.monotonic()]
            due.sort(key=lambda key: self._refused.get(key, (0.0,))[0])
            if not due:
                self._stop_asked.wait(0.5 if keys else 0.0)
                continue
            try:
                self._send(due)
                pause = FIRST_PAUSE
            except Exception as error:  # whatever it is, results wait and are tried again
                known = isinstance(error, _NobodyAnswersError)
                why = str(error) if known else f"failed ({type(error).__name__})"
                self._log(f"{self._receiver.aet}: {why}; trying again in {pause:g} s")
                self._stop_asked.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _send(self, keys: list[str]) -> None:
        association = self._associate()
        try:
            for number, key in enumerate(keys):
                if self._stop_asked.is_set():
                    return
                if number and not association.is_established:
                    # Others go on soon; a receiver that ends it over every result has some rest.
                    self._stop_asked.wait(FIRST_PAUSE)
                    return
                refusal = ""
                for file in self._queue.files(key):
                    try:
                        refusal = self._store(association, file) or refusal
                    except _NobodyAnswersError:
                        raise
                    except Exception as error:  # damaged files make pydicom raise nearly anything
                        refusal = f"a result cannot be read or sent ({type(error).__name__})"
                    if refusal and not association.is_established:
                        break
                if refusal:
                    _, pause = self._refused.get(key, (0.0, FIRST_PAUSE))
                    self._refused[key] = (time.monotonic() + pause, min(2 * pause, LONGEST_PAUSE))
                    self._log(f"{self._receiver.aet}: {refusal}; trying again in {pause:g} s")
                else:
                    self._queue.sent(key)
                    self._refused.pop(key, None)
        finally:
            if association.is_established:
                association.release()

    def _associate(self) -> Association:
        def limit(event: evt.Event) -> None:
            # A receiver that stops reading would hold a send for ever.
            connection = event.assoc.dul.socket
            if connection is not None and connection.socket is not None:
                connection.socket.settimeout(self._seconds)

        try:
            association = self._entity.associate(
                self._receiver.host,
                self._receiver.port,
                ae_title=self._receiver.aet,
                evt_handlers=[(evt.EVT_CONN_OPEN, limit)],
            )
        except OSError as error:
            raise _NobodyAnswersError(f"no such address ({error.strerror})") from None
        if association.is_established:
            return association
        raise _NobodyAnswersError(
            f"refuses {self._entity.ae_title}; is that AE title known there?"
            if association.is_rejected
            else "cannot be reached"
        )

    def _store(self, association: Association, file: Path) -> str:
        """Send a result and let go of it; or why that failed, or _NobodyAnswersError before."""
        if not association.is_established:
            raise _NobodyAnswersError("ended the association")
        dataset = pydicom.dcmread(file)
        try:
            status = association.send_c_store(dataset).get("Status")
        except ValueError:  # no context was accepted for it
            return f"does not take a {dataset.SOPClassUID.name}"
        if status is None:
            with suppress(Exception):
                association.abort()
            return "did not answer, or ended the association"
        if status == 0 or status >> 12 == 0xB:
            file.unlink()
            return ""
        return f"refused a result (status 0x{status:04X})"


class _NobodyAnswersError(Exception):
    """Nothing can be sent now."""
