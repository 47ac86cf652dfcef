"""The door of the server: every request passes here before anything else sees it."""

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from a2bgan.serving.reading_room.access import Access

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
    "cache-control": "no-store",
}
"""On every answer, unless it has its own."""

HEALTH = "/healthz"
"""Says that the server is up, to whoever asks, by whatever name: a proxy, a supervisor."""

LARGEST_TEXT = 64 * 1024
"""Bytes of a request that is no upload."""

PIECE = 64 * 1024
"""Bytes of an answer that are written at a time."""


class Gate:
    """Host, origin, token, size and time of each request; headers and quiet errors of each answer.

    Args:
        app: what lies behind it.
        access: who may ask.
        uploads: paths whose bodies may have ``largest_upload`` bytes.
        seconds: in which a body must have come.
        log: gets one line for an error inside, without names, numbers or contents.
    """

    def __init__(
        self,
        app: App,
        access: Access,
        *,
        uploads: frozenset[str],
        largest_upload: int,
        seconds: float,
        log: Callable[[str], None],
    ) -> None:
        self.app = app
        self.access = access
        self.uploads = uploads
        self.largest_upload = largest_upload
        self.seconds = seconds
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        answer = _Answer(send)
        root = self.access.root_path
        if root and scope["path"].startswith(f"{root}/"):
            path = scope["path"][len(root) :]  # a proxy may have taken it off, or not
            scope = {**scope, "path": path}
        if scope["path"] == HEALTH and scope["method"] in ("GET", "HEAD"):
            await answer.json(200, {"status": "up"})
            return
        headers = {k.decode("latin-1").lower(): v.decode("latin-1") for k, v in scope["headers"]}
        refused = self._refuse(scope["method"], scope["path"], headers)
        if refused is not None:
            await answer.error(*refused)
            return
        if root and scope["path"] == root:
            # The pages name each other from here on.
            await answer.json(307, {}, (b"location", f"{root}/".encode()))
            return
        uploading = scope["path"] in self.uploads
        body = _Body(receive, self.largest_upload if uploading else LARGEST_TEXT, self.seconds)
        try:
            await self.app(scope, body.receive, answer.send)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            if isinstance(error, ClientDisconnect):
                return
            # The type says enough to search by; the text may hold a name.
            where = getattr(scope.get("route"), "path", "a request")
            self.log(f"{scope['method']} {where}: {type(error).__name__}")
            await answer.error(500, "this did not work; the server goes on")

    def _refuse(self, method: str, path: str, headers: dict[str, str]) -> tuple[int, str] | None:
        if not self.access.knows_host(headers.get("host", "")):
            return 403, "not a name of this server"
        navigation = method in ("GET", "HEAD") and not path.startswith("/api/")
        if not self.access.same_origin(headers, navigation=navigation):
            return 403, "asked by a page of another site"
        private = path.startswith("/api/") and path != "/api/login"
        if (private or path == "/report") and not self.access.admits(headers):
            return 401, "the token is needed"
        length = headers.get("content-length", "0")
        limit = self.largest_upload if path in self.uploads else LARGEST_TEXT
        if not (length.isascii() and length.isdigit()) or int(length[:20]) > limit:
            return 413, _too_large(limit)
        return None


class _Body:
    """A request's body, which must come whole in time and not be larger than allowed."""

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive = receive
        self._limit = limit
        self._left = limit
        self._until = asyncio.get_running_loop().time() + seconds
        self._whole = False

    async def receive(self) -> Message:
        if self._whole:
            return await self._receive()
        try:
            async with asyncio.timeout_at(self._until):
                message = await self._receive()
        except TimeoutError:
            raise _refusal(408, "the request took too long to arrive") from None
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _refusal(413, _too_large(self._limit))
        self._whole = not message.get("more_body", False)
        return message


def _refusal(status: int, text: str) -> HTTPException:
    # What is left of the body is not read: the connection cannot be used again.
    return HTTPException(status, text, headers={"connection": "close"})


def _too_large(limit: int) -> str:
    return f"too large: at most {limit / 2**20:g} MiB"


class _Answer:
    """Adds the headers; says an error in one line unless an answer is on its way already."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._started = True
            own = {name.lower() for name, _ in message["headers"]}
            added = [(k.encode(), v.encode()) for k, v in HEADERS.items() if k.encode() not in own]
            message = {**message, "headers": [*message["headers"], *added]}
        # In pieces, so that an answer is at work for as long as it takes to reach the peer.
        body = message.get("body", b"")
        last = max(len(body) - 1, 0) // PIECE * PIECE
        for start in range(0, last, PIECE):
            piece = body[start : start + PIECE]
            await self._send({"type": message["type"], "body": piece, "more_body": True})
        await self._send({**message, "body": body[last:]} if last else message)

    async def error(self, status: int, text: str) -> None:
        if not self._started:
            close = [(b"connection", b"close")] if status in (408, 413) else []
            await self.json(status, {"error": text}, *close)

    async def json(self, status: int, content: object, *more: tuple[bytes, bytes]) -> None:
        body = json.dumps(content).encode()
        length = str(len(body)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length), *more]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": body})
