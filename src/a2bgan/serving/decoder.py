"""Read uploaded files in a process of their own, which may crash, hang or run out of memory."""

import multiprocessing
import os
import resource
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from a2bgan.data.preprocessing import DataConfig, load_image
from a2bgan.data.readers import ImageError

MOST_MEMORY = 4 * 2**30
"""Address space of the process in bytes, where the system keeps to such limits."""


class Decoder:
    """Reads and preprocesses one file at a time, each within a limit of seconds."""

    def __init__(self, config: DataConfig, seconds: float) -> None:
        self.config = config
        self.seconds = seconds
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._connection: Connection | None = None

    def load(self, path: Path) -> np.ndarray:
        """(C, S, S), uint8 or uint16, as `load_image` gives it. Raises ImageError."""
        with self._lock:
            connection = self._start()
            try:
                connection.send_bytes(os.fsencode(path))
                if not connection.poll(self.seconds):
                    raise ImageError(f"not read within {self.seconds:g} seconds")
                answer = connection.recv_bytes()
            except (EOFError, OSError):
                self._end()
                raise ImageError("damaged file, or too large for the memory") from None
            except ImageError:
                self._end()
                raise
        if answer[:1] == b"!":
            raise ImageError(answer[1:].decode())
        dtype = np.uint8 if self.config.depth == 8 else np.uint16
        shape = (self.config.channels, self.config.size, self.config.size)
        return np.frombuffer(answer, dtype, offset=1).reshape(shape)

    def close(self) -> None:
        with self._lock:
            self._end()

    def _start(self) -> Connection:
        if self._connection is None or self._process is None or not self._process.is_alive():
            self._end()
            # A fresh interpreter: a fork would copy PyTorch's threads in the middle of their work.
            context = multiprocessing.get_context("spawn")
            self._connection, theirs = context.Pipe()
            self._process = context.Process(
                target=_work, args=(theirs, self.config.model_dump_json()), daemon=True
            )
            self._process.start()
            theirs.close()
            # What it needs to start does not count as reading time.
            if not self._connection.poll(60) or self._connection.recv_bytes() != b"ready":
                raise ImageError("the reading process does not start")
        return self._connection

    def _end(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
        if self._connection is not None:
            self._connection.close()
        self._process = self._connection = None


def _work(connection: Connection, config_text: str) -> None:
    """Answer each path with its pixels, or with "!" and the reason; bytes only, no pickles."""
    config = DataConfig.model_validate_json(config_text)
    # Decoders complain of damaged files in the file's own words, some from C.
    silent = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):
        os.dup2(silent, stream)
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    with suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    connection.send_bytes(b"ready")
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            path = Path(os.fsdecode(connection.recv_bytes()))
            try:
                connection.send_bytes(b"." + load_image(path, config).tobytes())
            except ImageError as error:
                connection.send_bytes(b"!" + str(error).encode())
            except MemoryError:
                connection.send_bytes(b"!not enough memory to read it")
