"""Files that are dropped in: scored, shown, forgotten."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import HTTPException

from a2bgan.data.readers import READERS, ImageError, is_volume
from a2bgan.detection.inputs import Input
from a2bgan.detection.predict import Prediction
from a2bgan.serving.cases import planes_of
from a2bgan.serving.decoder import Decoder
from a2bgan.serving.shown import Room

KEPT = 16
"""Uploads whose pictures stay in memory."""

# A volume is scored slice by slice, which takes longer than an upload may.
SUFFIXES = sorted(suffix for suffix in READERS if not is_volume(Path(f"image{suffix}")))
"""Of the files that can be dropped in: images."""

AT_WORK = 4
"""Uploads that arrive or are read at a time; others are refused."""


@dataclass(frozen=True)
class Limits:
    """Of uploads: bytes, pixels (the readers', at most), seconds to arrive and to be read."""

    upload_bytes: int = 64 * 2**20
    pixels: int = 50_000_000
    seconds: float = 20


class Uploads:
    """Scores files that were dropped in; the last few of them are kept in memory."""

    def __init__(self, room: Room, limits: Limits) -> None:
        self._room = room
        self._kept: OrderedDict[int, bytes] = OrderedDict()
        self._count = 0
        self._lock = threading.Lock()
        self._places = threading.BoundedSemaphore(AT_WORK)
        self._decoder: Decoder | None = None
        if room.trained is not None:
            data = room.trained.config.data
            pixels = min(data.max_pixels, limits.pixels)
            config = data.model_copy(update={"max_pixels": pixels})
            self._decoder = Decoder(config, limits.seconds)

    def close(self) -> None:
        if self._decoder is not None:
            self._decoder.close()

    def place(self) -> "_Place":
        """A place to arrive and be scored in, as a context that raises HTTPException (429) where
        all are taken. Raises HTTPException (409) where nothing can be scored yet."""
        if self._decoder is None:
            raise HTTPException(409, "the run has no checkpoint yet: nothing can be scored")
        return _Place(self._places)

    def score(self, file: Path) -> dict[str, Any]:
        """Score an image, keep its pictures and give them a number.

        Returns ``number``, ``score`` (None where it is not finite), ``p_value`` (None without a
        calibration or a score), ``unfamiliar``, whether it looks like none of training, and
        ``peak``, see `planes_of`. Raises HTTPException (422) if the
        file cannot be read.
        """
        trained = self._room.trained
        assert trained is not None and self._decoder is not None
        try:
            image = self._decoder.load(file)
        except ImageError as error:
            raise HTTPException(422, str(error)) from None
        with self._lock:
            (found,) = trained.detect_images(image[np.newaxis])
            planes, peak = planes_of(Prediction.of(found, 0, Input("", file, "")))
            score = float(found.scores[0])
            number = self._count
            self._count += 1
            self._kept[number] = planes.astype("<u2").tobytes()
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        p = None
        if self._room.calibration is not None and np.isfinite(score):
            p = float(self._room.calibration.p_values([""], np.array([score]))[0])
        return {
            "number": number,
            "score": score if np.isfinite(score) else None,
            "p_value": p,
            "unfamiliar": self._room.calibration is not None
            and bool(self._room.calibration.unfamiliar(image[np.newaxis])),
            "peak": peak,
        }

    def pixels(self, number: int) -> bytes:
        """Planes of an upload, little-endian uint16 (P, S, S). Raises HTTPException (404) if they
        are no longer kept."""
        with self._lock:
            if number not in self._kept:
                raise HTTPException(404, "no longer kept; drop the file again")
            return self._kept[number]


class _Place:
    """One of few places for uploads at work; nobody waits in front of a full room."""

    def __init__(self, places: threading.BoundedSemaphore) -> None:
        self._places = places

    def __enter__(self) -> None:
        if not self._places.acquire(blocking=False):
            raise HTTPException(429, "other files are being scored; try again")

    def __exit__(self, *exception: object) -> None:
        self._places.release()
