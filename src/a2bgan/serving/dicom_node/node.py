"""The receiving side of a DICOM node: C-ECHO and C-STORE, within limits."""

import errno
import logging
import re
import socket
import socketserver
import threading
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

from pynetdicom import AE, AllStoragePresentationContexts, _config, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]
from pynetdicom.transport import ThreadedAssociationServer

from a2bgan.data.formats.dicom.decoding import readable_transfer_syntaxes
from a2bgan.data.formats.dicom.header import read_header
from a2bgan.data.formats.picture import ImageError
from a2bgan.errors import InputError
from a2bgan.report.dicom_results import MANUFACTURER
from a2bgan.serving.addresses import Network, is_in, parse_networks
from a2bgan.serving.dicom_node.queue import Queue

SUCCESS, OUT_OF_RESOURCES, CANNOT_UNDERSTAND = 0x0000, 0xA700, 0xC000  # PS3.4, B.2.3

_UID = re.compile(r"[0-9.]{1,64}")
_NEEDED = ("SOPClassUID", "StudyInstanceUID", "SeriesInstanceUID")

# What pynetdicom has to say can quote what it received.
logging.getLogger("pynetdicom").propagate = False
_config.LOG_HANDLER_LEVEL = "none"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a node and of each association with it.

    associations: at once.
    images, object_bytes, seconds: of one association; objects are in memory while they arrive.
    idle_seconds: without any data.
    pdu_bytes: of one piece of data.
    """

    associations: int = 10
    images: int = 10_000
    object_bytes: int = 256 * 2**20
    seconds: float = 3600
    idle_seconds: float = 30
    pdu_bytes: int = 128 * 1024


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who may send: AE titles and networks; everybody where there are none."""

    aets: tuple[str, ...] = ()
    peers: tuple[Network, ...] = ()

    @classmethod
    def parse(cls, aets: Sequence[str], peers: Sequence[str]) -> "Allowed":
        """Raises InputError for what is no address or network."""
        return cls(tuple(aet.strip() for aet in aets), parse_networks("--allow-peer", peers))

    def knows(self, aet: str | None) -> bool:
        """True for a calling AE title that is allowed."""
        return not self.aets or (aet or "").strip() in self.aets

    def admits(self, address: str) -> bool:
        """True for a peer's address that is allowed."""
        return not self.peers or is_in(address, self.peers)


class _Connection(socket.socket):
    """A peer's connection, which ends where a limit does."""

    def begin(self, limits: Limits) -> None:
        # pynetdicom waits for the rest of a PDU without one.
        self.settimeout(limits.idle_seconds)
        self.until = time.monotonic() + limits.seconds
        self.most = limits.object_bytes
        self.taken = 0
        self.said = Counter[str]()

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.taken > self.most:
            self.said[f"an object of more than {self.most / 2**20:g} MiB, ended"] = 1
            raise OSError(errno.EMSGSIZE, "too large")
        if time.monotonic() > self.until:
            self.said["too long, ended"] = 1
            raise OSError(errno.ETIMEDOUT, "too long")
        data = super().recv(size, flags)
        self.taken += len(data)
        return data


class _Server(ThreadedAssociationServer):
    """Refuses peers before anything of theirs is read."""

    daemon_threads = True
    allowed: Allowed
    limits: Limits
    log: Callable[[str], None]

    def get_request(self) -> tuple[socket.socket, Any]:
        accepted, address = super().get_request()
        connection = _Connection(fileno=accepted.detach())
        connection.begin(self.limits)
        return connection, address

    def verify_request(self, request: Any, client_address: Any) -> bool:
        if not self.allowed.admits(client_address[0]):
            self.log(f"refused: {client_address[0]} is not allowed (--allow-peer)")
            return False
        # Those that say nothing count too; pynetdicom rejects politely what is over the limit.
        if len(self.active_associations) >= 2 * self.limits.associations:
            self.log(f"refused: {client_address[0]}, too many connections")
            return False
        return True

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.log(f"{client_address[0]}: connection failed")  # no traceback


class Node:
    """Listens, and puts what it accepts into a queue.

    C-STORE is answered with success once the object is on the disk for good, or was accepted
    before; so are objects without an image (reports, presentation states) and a2bgan's own
    results, which are not kept. 0xA700: no room on the disk, or too many images. 0xC000: no header
    that can be read, or no valid UIDs in it. Images whose pixels are damaged are accepted: that
    shows when they are scored.

    Args:
        log: gets lines without identifiers of patients or objects.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        aet: str,
        allowed: Allowed,
        limits: Limits,
        log: Callable[[str], None],
    ) -> None:
        self._queue = queue
        self._allowed = allowed
        self._limits = limits
        self._log = log
        self._connections: WeakKeyDictionary[Association, _Connection] = WeakKeyDictionary()
        self._entity = AE(aet)
        self._entity.require_called_aet = True
        self._entity.require_calling_aet = list(allowed.aets)
        self._entity.maximum_associations = limits.associations
        self._entity.maximum_pdu_size = limits.pdu_bytes
        self._entity.acse_timeout = self._entity.dimse_timeout = limits.idle_seconds
        self._entity.network_timeout = limits.idle_seconds
        self._entity.add_supported_context(Verification)
        syntaxes = readable_transfer_syntaxes()
        for context in AllStoragePresentationContexts:
            if context.abstract_syntax is not None:
                self._entity.add_supported_context(context.abstract_syntax, syntaxes)

    @contextmanager
    def listening(self, host: str, port: int) -> Iterator[int]:
        """Listen until the block ends; yields the port. Raises InputError.

        At the end associations have a few seconds to finish, and are aborted then.
        """
        warnings.filterwarnings("ignore", module="pynetdicom")
        try:
            _, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            server: _Server = self._entity.make_server(  # type: ignore[assignment]
                address,  # type: ignore[arg-type]
                evt_handlers=[
                    (evt.EVT_CONN_OPEN, self._opened),
                    (evt.EVT_C_STORE, self._store),
                    (evt.EVT_REJECTED, self._rejected),
                    (evt.EVT_CONN_CLOSE, self._closed),
                ],
                server_class=_Server,
            )
        except OSError as error:
            raise InputError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror}); "
                "choose another --port"
            ) from None
        server.allowed, server.limits, server.log = self._allowed, self._limits, self._log
        threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        try:
            yield int(server.server_address[1])
        finally:
            socketserver.BaseServer.shutdown(server)
            server.server_close()
            until = time.monotonic() + 5
            while server.active_associations and time.monotonic() < until:
                time.sleep(0.05)
            for association in server.active_associations:
                association.abort(block=False)

    def _opened(self, event: evt.Event) -> None:
        connection = event.assoc.dul.socket
        if connection is not None and isinstance(connection.socket, _Connection):
            self._connections[event.assoc] = connection.socket

    def _rejected(self, event: evt.Event) -> None:
        asked = event.assoc.requestor.primitive
        why = "too many associations"
        if asked is not None and asked.called_ae_title != self._entity.ae_title:
            why = "called by another AE title than ours"
        elif asked is not None and not self._allowed.knows(asked.calling_ae_title):
            why = "its AE title is not allowed (--allow-ae)"
        self._said(event)[f"refused ({why})"] += 1

    def _closed(self, event: evt.Event) -> None:
        connection = self._connections.pop(event.assoc, None)
        if connection is not None and connection.said:
            told = ", ".join(f"{n} {what}" for what, n in connection.said.items())
            self._log(f"{_shown(event.assoc)}: {told}")

    def _said(self, event: evt.Event) -> Counter[str]:
        connection = self._connections.get(event.assoc)
        return Counter() if connection is None else connection.said

    def _store(self, event: evt.Event) -> int:
        said = self._said(event)
        try:
            status, what = self._accept(event, said)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            reason = "disk full" if full else f"cannot be written: {error.strerror}"
            if not said[f"refused ({reason})"]:
                self._log(f"{_shown(event.assoc)}: images are refused: {reason}")
            status, what = OUT_OF_RESOURCES, f"refused ({reason})"
        except Exception as error:  # its text may quote what was sent
            status, what = CANNOT_UNDERSTAND, f"refused ({type(error).__name__})"
        said[what] += 1
        return status

    def _accept(self, event: evt.Event, said: Counter[str]) -> tuple[int, str]:
        """The status to answer, and in words for the log."""
        connection = self._connections.get(event.assoc)
        if connection is not None:
            connection.taken = 0
        if said.total() >= self._limits.images:
            return OUT_OF_RESOURCES, "refused (too many in one association)"
        assert isinstance(event.request, C_STORE)
        uid = str(event.request.AffectedSOPInstanceUID or "")
        if not _UID.fullmatch(uid):
            return CANNOT_UNDERSTAND, "refused (no valid UID)"
        key = self._queue.key(uid)
        if self._queue.knows(key):
            return SUCCESS, "known already"
        with self._queue.incoming(event.encoded_dataset()) as file:
            try:
                wanted = _is_wanted(file, uid)
            except ImageError as error:
                return CANNOT_UNDERSTAND, f"refused ({error})"
            if not wanted:
                return SUCCESS, "without an image to score"
            return SUCCESS, "accepted" if self._queue.keep(file, key) else "known already"


def _is_wanted(file: Path, uid: str) -> bool:
    """True for an image that this node did not make. Raises ImageError."""
    header = read_header(file)
    if str(header.get("SOPInstanceUID", "")) != uid:
        raise ImageError("damaged header, or another UID in it than announced")
    for keyword in _NEEDED:
        if not _UID.fullmatch(str(header.get(keyword) or "")):
            raise ImageError(f"no valid {keyword}")
    # An archive that routes all it gets would send our results round and round.
    ours = header.get("Manufacturer") == MANUFACTURER
    return "ImageStorage" in header.SOPClassUID.keyword and not ours


def _shown(association: Association) -> str:
    """Who it is: AE title and address."""
    requestor = association.requestor
    title = "".join(c for c in requestor.ae_title if c.isprintable()).strip()
    return f"{title or 'unnamed'} at {requestor.address}"
