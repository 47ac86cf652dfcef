"""Files that are dropped in: scored, shown, forgotten."""

import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from starlette.concurrency import run_in_threadpool

from a2bgan.data.formats.kinds import KIND_OF_SUFFIX, is_volume
from a2bgan.data.formats.picture import ImageError
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import Prediction
from a2bgan.report.film import Film
from a2bgan.serving.decoder import Decoder
from a2bgan.serving.reading_room.cases import planes_of
from a2bgan.serving.reading_room.films import SentPictures, packed_picture
from a2bgan.serving.reading_room.room import Room
from a2bgan.serving.reading_room.verdicts import DiskFullError

UPLOAD = "/api/uploads"

# A volume is scored slice by slice, which takes longer than an upload may.
SUFFIXES = sorted(suffix for suffix in KIND_OF_SUFFIX if not is_volume(Path(f"image{suffix}")))
"""Suffixes of images, which can be dropped in."""

AT_WORK = 4
"""Uploads that arrive or are read at a time, half of them from one address; others are refused."""


@dataclass(frozen=True)
class Limits:
    """Limits of an upload: bytes, pixels, seconds to arrive and to be read."""

    upload_bytes: int = 64 * 2**20
    pixels: int = 50_000_000
    seconds: float = 20


class Uploads:
    """Scores files that were dropped in; nothing of them is kept."""

    def __init__(self, room: Room, limits: Limits) -> None:
        self._room = room
        self._lock, self._judging = threading.Lock(), threading.Lock()
        self._at_work = Counter[str]()
        self._decoder: Decoder | None = None
        if room.trained is not None:
            data = room.trained.config.data
            pixels = min(data.max_pixels, limits.pixels)
            config = data.model_copy(update={"max_pixels": pixels})
            self._decoder = Decoder(config, limits.seconds)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()

    @contextmanager
    def place(self, client: str) -> Iterator[None]:
        """A place to arrive and be scored in. Raises HTTPException: 429 where all are taken, or
        half of them by the same client, 409 where nothing can be scored yet."""
        if self._decoder is None:
            raise HTTPException(409, "the run has no checkpoint yet: nothing can be scored")
        with self._lock:
            if self._at_work.total() >= AT_WORK or self._at_work[client] >= AT_WORK // 2:
                raise HTTPException(429, "other files are being scored; try again")
            self._at_work[client] += 1
        try:
            yield
        finally:
            with self._lock:
                self._at_work[client] -= 1
                self._at_work += Counter()  # forgets those without any

    def score(self, file: Path) -> tuple[Film, NDArray[np.uint16], dict[str, Any]]:
        """Score an image.

        Returns the film, the planes of `packed_picture`, and ``score`` (None where it is not
        finite), ``p_value`` (None without a calibration or a score), and ``unfamiliar``, whether it
        looks like none of training. Raises HTTPException (422) if the file cannot be read.
        """
        trained = self._room.trained
        assert trained is not None and self._decoder is not None
        try:
            image = self._decoder.load(file)
            film = self._decoder.film(file)
        except ImageError as error:
            raise HTTPException(422, str(error)) from None
        with self._judging:
            (found,) = trained.detect_images(image[np.newaxis])
        prediction = Prediction.of(found, 0, Input("", file, ""))
        planes, peak = planes_of(prediction)
        score = float(found.scores[0])
        p = None
        if self._room.calibration is not None and np.isfinite(score):
            p = float(self._room.calibration.p_values([""], np.array([score]))[0])
        about = {
            "score": score if np.isfinite(score) else None,
            "p_value": p,
            "unfamiliar": self._room.calibration is not None
            and bool(self._room.calibration.unfamiliar(image[np.newaxis])),
            "peak": peak,
            "contours": self._room.contours(prediction.anomaly_map, film.place),
        }
        return film, planes, about


def upload_routes(uploads: Uploads, sent: SentPictures) -> APIRouter:
    """The router of uploads."""
    routes = APIRouter()

    @routes.post(
        UPLOAD,
        response_class=Response,
        responses={409: {}, 413: {}, 415: {}, 422: {}, 429: {}, 503: {}},
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/octet-stream": {"schema": {"format": "binary"}}},
            }
        },
    )
    async def upload(request: Request, suffix: Annotated[str, Query(max_length=10)]) -> Any:
        """Score a file, which is the body; its name stays with the browser, but for the suffix.

        To who accepts JSON without its pictures, otherwise as `packed_picture`.
        """
        if suffix not in SUFFIXES:
            known = ", ".join(SUFFIXES)
            raise HTTPException(415, f"no image; one of {known}; `a2bgan predict` scores volumes")
        client = "" if request.client is None else request.client.host
        with uploads.place(client), tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
            file = Path(folder) / f"image{suffix}"
            try:
                with file.open("wb") as target:
                    async for chunk in request.stream():
                        target.write(chunk)
            except OSError:
                raise DiskFullError from None
            film, planes, about = await run_in_threadpool(uploads.score, file)
        if "application/json" in request.headers.get("accept", ""):
            return JSONResponse(about)
        return await sent.when_there_is_room(packed_picture(film, planes, about))

    return routes
