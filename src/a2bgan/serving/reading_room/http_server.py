"""HTTP for the reading room: uvicorn behind a socket whose connections nobody can hoard.

The number of connections is limited, of each peer and in all. Where it is reached, the one that has
waited longest for a request makes room for the new one: a peer that opens connections and asks
nothing keeps nobody out.
"""

import asyncio
import json
import math
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from a2bgan.errors import InputError
from a2bgan.serving.addresses import Network, is_in, parse_peer
from a2bgan.serving.reading_room.gate import HEADERS, Gate

SECONDS = 10.0
"""In which the head of a request must have come (from the opening of the connection or its first
byte on), a TLS handshake must have ended, and some of an answer must have been taken."""

KEEP_ALIVE = 15
"""Seconds that a connection stays open without a request after one."""

MOST_CONNECTIONS = 1000
"""Open at a time."""

MOST_OF_ONE = 100
"""Open at a time from one peer: an IPv4 address, or a network of IPv6 with its 64 bits."""

GRACE = 1.0
"""Seconds that a connection may wait for a request before it has to make room."""

PACE = 0.05
"""Seconds between two connections that make room for others of their peer. A refusal costs hardly
anything, and one that hoards connections would take its places from itself all the time."""

Address = tuple[Any, ...]


class _Connection(socket.socket):
    """A connection that a crowd counts until it is closed."""

    address: Address
    peer: str
    crowd: "Crowd"

    def close(self) -> None:
        self.crowd.forget(self)
        super().close()


class Crowd:
    """The open connections, and those of them that wait for a request.

    proxies: networks that many peers may come from; only the limit of all holds for them.
    """

    def __init__(self, proxies: Sequence[Network] = ()) -> None:
        self._proxies = proxies
        self._open: dict[Address, _Connection] = {}
        self._by_peer = Counter[str]()
        self._waiting: dict[_Connection, float] = {}  # since when; the longest first
        self._next = 0.0  # when the next may make room for its peer

    def admit(self, connection: _Connection) -> bool:
        """Count a connection; another may be closed for it. False where no other can be."""
        address = parse_peer(connection.address[0])
        connection.peer = str(address) if address.version == 4 else address.exploded[:19]
        greedy = self._by_peer[connection.peer] >= MOST_OF_ONE
        if greedy and not is_in(connection.address[0], self._proxies):
            now = time.monotonic()
            room = now >= self._next and self._make_room(connection.peer)
            self._next = now + PACE if room else self._next
        else:
            room = len(self._open) < MOST_CONNECTIONS or self._make_room()
        if room:
            self._open[connection.address] = connection
            self._by_peer[connection.peer] += 1
            self._waiting[connection] = time.monotonic()
        return room

    def mark(self, address: Address, waits: bool) -> None:
        """Note whether the connection from an address waits for a request now."""
        connection = self._open.get(address)
        if connection is not None and waits:
            self._waiting.setdefault(connection, time.monotonic())
        elif connection is not None:
            self._waiting.pop(connection, None)

    def forget(self, connection: _Connection) -> None:
        """Count it no longer."""
        if self._open.get(connection.address) is connection:
            del self._open[connection.address]
            self._waiting.pop(connection, None)
            self._by_peer[connection.peer] -= 1
            if not self._by_peer[connection.peer]:
                del self._by_peer[connection.peer]

    def _make_room(self, peer: str | None = None) -> bool:
        """Close the connection, of all or of a peer, that has waited longest."""
        late = time.monotonic() - GRACE
        for connection, since in self._waiting.items():
            if since > late:
                break
            if peer in (None, connection.peer):
                self.forget(connection)
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)  # the loop reads its end, and closes it
                return True
        return False


class Door(socket.socket):
    """A listening socket that lets a crowd in."""

    crowd: Crowd
    refusal: bytes

    def accept(self) -> tuple[socket.socket, Any]:
        accepted, address = super().accept()
        connection = _Connection(fileno=accepted.detach())
        connection.address, connection.crowd = address, self.crowd
        if self.crowd.admit(connection):
            return connection, address
        with connection, suppress(OSError):
            connection.setblocking(False)
            connection.send(self.refusal)
            connection.recv(65536)  # what is left unread would reset it before the answer is there
        raise ConnectionAbortedError  # asyncio looks after the others, and asks again


@contextmanager
def listen(
    host: str, port: int, *, proxies: Sequence[Network] = (), encrypted: bool = False
) -> Iterator[Door]:
    """A door that is open until the block ends. Raises InputError if the port is taken or the
    address is not ours."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        door = Door(family, kind)
    except OSError as error:
        raise InputError(f"--host {host}: no such address here ({error.strerror})") from None
    door.crowd = Crowd(proxies)
    busy = "too many connections; try again"
    door.refusal = b"" if encrypted else _answer("503 Service Unavailable", busy)
    with door:
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind(address)
            door.listen(128)
        except OSError as error:
            raise InputError(
                f"--host {host} --port {port}: cannot listen there ({error.strerror}); "
                "choose another --port"
            ) from None
        yield door


def check_certificate(certificate: Path, key: Path) -> None:
    """Raises InputError if a server cannot use them."""
    try:
        # Without a password OpenSSL would ask for one on the terminal.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key, password=lambda: " ")
    except (OSError, ValueError) as error:
        why = getattr(error, "reason", None) or getattr(error, "strerror", None) or "no PEM files"
        raise InputError(
            f"--certificate {certificate} --key {key}: cannot be used ({why}); give PEM files that "
            "belong together, the key without a password"
        ) from None


def make_server(
    app: Gate,
    door: Door,
    *,
    proxies: Sequence[Network] = (),
    tls: tuple[Path, Path] | None = None,
) -> uvicorn.Server:
    """uvicorn for a door, to be run by `run`.

    proxies: the peers whose X-Forwarded-For and X-Forwarded-Proto are believed.
    tls: files of certificate and key.
    """
    certificate, key = tls or (None, None)
    config = uvicorn.Config(
        app, http=partial(ImpatientProtocol, door.crowd),  # type: ignore[arg-type]
        log_level="critical", access_log=False, server_header=False, ws="none",
        timeout_keep_alive=KEEP_ALIVE, timeout_graceful_shutdown=3,
        proxy_headers=bool(proxies), forwarded_allow_ips=[str(network) for network in proxies],
        ssl_certfile=certificate, ssl_keyfile=key,
    )  # fmt: skip
    return uvicorn.Server(config)


def run(server: uvicorn.Server, door: Door) -> None:
    """Serve until a signal comes, which is raised again at the end."""
    _allow_open_files(2 * MOST_CONNECTIONS)
    with asyncio.Runner(loop_factory=_Loop) as runner:
        runner.run(server.serve(sockets=[door]))


def _allow_open_files(wanted: int) -> None:
    """Raise this process's limit of open files, as far as it may; Windows has none."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = wanted if hard < 0 else min(wanted, hard)
    if 0 <= soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class _Loop(asyncio.SelectorEventLoop):
    async def create_server(self, *args: Any, **options: Any) -> asyncio.Server:
        if options.get("ssl") is not None:
            options["ssl_handshake_timeout"] = SECONDS
        return await super().create_server(*args, **options)


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, to peers that must ask, and take the answers, in time."""

    def __init__(self, crowd: Crowd, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._crowd = crowd
        self._asking: asyncio.TimerHandle | None = None
        self._taking: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._address = transport.get_extra_info("peername")
        self._wait()

    def data_received(self, data: bytes) -> None:
        if self._asking is None and self._is_between_requests():
            self._wait()
        super().data_received(data)
        if not self._is_between_requests():
            self._stop_waiting()
        self._mark()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._mark()
        if self.transport.is_closing():
            self._watch()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._watch()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._stop_watching()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        if self.cycle is None or not self.cycle.response_started or self.cycle.response_complete:
            self.transport.write(_answer("400 Bad Request", "not a request of HTTP/1.1"))
        self.transport.close()

    def _is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _mark(self) -> None:
        self._crowd.mark(self._address, self._is_between_requests() or self.cycle.more_body)

    def _wait(self) -> None:
        self._asking = self.loop.call_later(SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    def _watch(self, before: float = math.inf) -> None:
        """End the connection where the peer does not take what is written to it."""
        self._stop_watching()
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        else:
            self._taking = self.loop.call_later(SECONDS, self._watch, left)

    def _stop_watching(self) -> None:
        if self._taking is not None:
            self._taking.cancel()


def _answer(status: str, text: str) -> bytes:
    """A whole answer, for what never reaches the gate."""
    body = json.dumps({"error": text})
    headers = {
        "content-type": "application/json", "content-length": len(body), "connection": "close",
        **HEADERS,
    }  # fmt: skip
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", body]).encode()
