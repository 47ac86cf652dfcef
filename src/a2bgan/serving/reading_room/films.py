"""The pictures that the browser gets: the film of a case, and what the method made of it.

Films are large: one is read at a time, in a process of its own, and those on their way to browsers
share a bounded memory.
"""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import numpy as np
from fastapi import HTTPException, Response
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from a2bgan.data.formats.picture import ImageError
from a2bgan.report.film import Film, network_film
from a2bgan.serving.decoder import Decoder
from a2bgan.serving.reading_room.room import Room

MOST_ON_THE_WAY = 2**29
"""Bytes of pictures that wait in memory until browsers have taken them."""

LONGEST_WAIT = 20.0
"""Seconds that a picture waits for room among them."""

_TOP = np.iinfo(np.uint16).max


def packed_picture(film: Film, planes: NDArray[np.uint16], about: dict[str, Any]) -> bytes:
    """A picture as one answer, all numbers little-endian.

    The length of a JSON text (uint32); the text, ``about`` and under ``film`` what is known of the
    film; the planes (P, S, S) uint16; the levels of the film, uint8 or uint16. The text ends with
    so many spaces that the planes begin at a multiple of 4.
    """
    size = {"size": film.size, "enlarged": max(film.levels.shape) > planes.shape[-1]}
    text = json.dumps({**about, "film": {**film.about, **size}}).encode()
    text += b" " * (-len(text) % 4)
    parts = [len(text).to_bytes(4, "little"), text, planes.astype("<u2").tobytes(), film.content]
    return b"".join(parts)


class Films:
    """The films of a room's cases, each read within a limit of seconds."""

    def __init__(self, room: Room, seconds: float) -> None:
        self._room = room
        self._decoder = None
        if room.trained is not None:
            self._decoder = Decoder(room.trained.data, seconds)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()

    def picture(self, number: int) -> bytes:
        """The `packed_picture` of a case that has a score; where its file cannot be read any more,
        with what the network saw in place of the film."""
        cases = self._room.cases
        assert cases is not None and self._decoder is not None
        try:
            film = self._decoder.film(cases.file(number))
        except ImageError as error:
            film = network_film(cases.image(number) / _TOP, str(error))
        contours = self._room.contours(cases.anomaly_map(number), film.place)
        about = {"peak": cases.cases[number].peak, "contours": contours}
        return packed_picture(film, cases.planes(number), about)


class SentPictures:
    """Answers with pictures, of which only so many bytes are on their way at once."""

    def __init__(self, most: int = MOST_ON_THE_WAY, wait: float = LONGEST_WAIT) -> None:
        self._most = most
        self._wait = wait
        self._under_way = 0
        self._turn = asyncio.Semaphore()
        self._changed = asyncio.Condition()

    async def answer(self, make: Callable[[], bytes]) -> Response:
        """Make a picture, one at a time, and answer with it. Raises HTTPException (503)."""
        async with self._turn:
            return await self.when_there_is_room(await run_in_threadpool(make))

    async def when_there_is_room(self, content: bytes) -> Response:
        """Answer with a picture. Raises HTTPException (503) where others take too long."""

        def fits() -> bool:
            return not self._under_way or self._under_way + len(content) <= self._most

        try:
            async with asyncio.timeout(self._wait), self._changed:
                await self._changed.wait_for(fits)
                self._under_way += len(content)
        except TimeoutError:
            raise HTTPException(503, "too many pictures are on their way; try again") from None
        return _Picture(self, content)

    async def forget(self, size: int) -> None:
        """Give back the room of a picture that was sent, or will not be."""
        async with self._changed:
            self._under_way -= size
            self._changed.notify_all()


class _Picture(Response):
    media_type = "application/octet-stream"

    def __init__(self, sent: SentPictures, content: bytes) -> None:
        super().__init__(content)
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            await asyncio.shield(self._sent.forget(len(self.body)))
