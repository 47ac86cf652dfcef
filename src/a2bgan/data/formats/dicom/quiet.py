"""Keep pydicom and its decoders quiet while files are read."""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pydicom import config

NAMES = ("pydicom", "pylibjpeg", "openjpeg", "libjpeg", "rle", "highdicom")

_LOCK = threading.Lock()
_inside = 0


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Let pydicom log nothing, warn of nothing and accept values that break the standard.

    Its messages can quote a patient's name, and the readers say themselves what is wrong with a
    file. Its settings are those of the process: once the last of several threads has left, all are
    as before.
    """
    global _inside
    with _LOCK:
        _inside += 1
        if _inside == 1:
            _STATE.set()
    try:
        yield
    finally:
        with _LOCK:
            _inside -= 1
            if _inside == 0:
                _STATE.restore()


class _State:
    """The settings of before."""

    def set(self) -> None:
        self.mode = config.settings.reading_validation_mode
        config.settings.reading_validation_mode = config.IGNORE
        self.handlers = {name: logging.NullHandler() for name in NAMES}
        self.propagate = {name: logging.getLogger(name).propagate for name in NAMES}
        for name, handler in self.handlers.items():
            logging.getLogger(name).addHandler(handler)
            logging.getLogger(name).propagate = False
        warnings.filterwarnings("ignore", module="|".join(NAMES))
        self.filter = warnings.filters[0]

    def restore(self) -> None:
        config.settings.reading_validation_mode = self.mode
        for name, handler in self.handlers.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).propagate = self.propagate[name]
        with suppress(ValueError):  # someone has put the filters back already
            warnings.filters.remove(self.filter)  # type: ignore[attr-defined]


_STATE = _State()
