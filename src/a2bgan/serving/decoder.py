"""Read uploaded files in a process of their own, which may crash, hang or run out of memory."""

import json
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError, PassingImageError
from a2bgan.data.preprocessing import load_image
from a2bgan.report.film import Film, read_film

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

MOST_MEMORY = 4 * 2**30
"""Address space of the process in bytes, where the system keeps to such limits."""

SECONDS_TO_START = 60.0
"""In which the process must be ready; that is no reading time."""


class Decoder:
    """Reads one file at a time, as a network or as a screen wants it, within a limit of seconds."""

    def __init__(self, config: DataConfig, seconds: float) -> None:
        self.config = config
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def load(self, path: Path) -> np.ndarray:
        """(C, S, S), uint8 or uint16, as `load_image` gives it. Raises ImageError."""
        answer = self._answer(_IMAGE, path)
        dtype = np.uint8 if self.config.depth == 8 else np.uint16
        shape = (self.config.channels, self.config.size, self.config.size)
        return np.frombuffer(answer, dtype).reshape(shape)

    def film(self, path: Path) -> Film:
        """The image at its own size, as `read_film` gives it. Raises ImageError."""
        about, _, content = self._answer(_FILM, path).partition(b"\n")
        return Film.from_parts(json.loads(about), content)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _answer(self, wanted: bytes, path: Path) -> bytes:
        with self._lock:
            try:
                answer = self._ask(wanted + os.fsencode(path))
            except BaseException:
                # What is said later would be taken for the answer to the next file.
                self._end()
                raise
        if answer[:1] in (b"!", b"?"):
            kind = ImageError if answer[:1] == b"!" else PassingImageError
            raise kind(answer[1:].decode())
        return answer[1:]

    def _ask(self, question: bytes) -> bytes:
        connection = self._start()
        try:
            connection.send_bytes(question)
            if not connection.poll(self.seconds):
                raise ImageError(f"not read within {self.seconds:g} seconds")
            return connection.recv_bytes()
        except (EOFError, OSError):
            raise ImageError("damaged file, or too large for the memory") from None

    def _start(self) -> Connection:
        """The connection to a process that waits for a path."""
        if self._connection is not None and self._process is not None and self._process.is_alive():
            return self._connection
        self._end()
        # A fresh interpreter: a fork would copy PyTorch's threads in the middle of their work.
        context = multiprocessing.get_context("spawn")
        ready = False
        with suppress(EOFError, OSError):
            self._connection, theirs = context.Pipe()
            with theirs:
                process = context.Process(
                    target=_work, args=(theirs, self.config.model_dump_json()), daemon=True
                )
                process.start()
                self._process = process
            if self._connection.poll(SECONDS_TO_START):
                ready = self._connection.recv_bytes() == b"ready"
        if not ready or self._connection is None:
            raise PassingImageError("the reading process does not start")
        return self._connection

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _film(path: Path, config: DataConfig) -> bytes:
    film = read_film(path, config)
    return json.dumps(film.about).encode() + b"\n" + film.content


_IMAGE, _FILM = b"i", b"f"
_WORK: dict[bytes, Callable[[Path, DataConfig], bytes]] = {
    _IMAGE: lambda path, config: load_image(path, config).tobytes(),
    _FILM: _film,
}


def _limit_memory() -> None:
    """Bound this process's memory and leave no dumps of it; Windows cannot."""
    if sys.platform == "win32":
        return
    import resource

    for limit, value in ((resource.RLIMIT_AS, MOST_MEMORY), (resource.RLIMIT_CORE, 0)):
        with suppress(OSError, ValueError):
            resource.setrlimit(limit, (value, value))


def _work(connection: Connection, config_text: str) -> None:
    """Answer what is wanted of each path with its pixels, or with "!" and the reason, "?" where
    that may pass; bytes only, no pickles."""
    config = DataConfig.model_validate_json(config_text)
    # Decoders complain of damaged files in the file's own words, some from C.
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    _limit_memory()
    connection.send_bytes(b"ready")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            question = connection.recv_bytes()
            path = Path(os.fsdecode(question[1:]))
            try:
                connection.send_bytes(b"." + _WORK[question[:1]](path, config))
            except PassingImageError as error:
                connection.send_bytes(b"?" + str(error).encode())
            except ImageError as error:
                connection.send_bytes(b"!" + str(error).encode())
            except MemoryError:
                connection.send_bytes(b"?not enough memory to read it")
