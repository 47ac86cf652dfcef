"""Medical image anomaly detection from healthy and unannotated mixed scans (A2B-GAN)."""

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a2bgan.detector import Detector

    __version__: str

__all__ = ["Detector", "__version__"]

# Silent until a program sets up logging, as a library should be.
logging.getLogger(__name__).addHandler(logging.NullHandler())


def __getattr__(name: str) -> Any:
    """Look up the version, and import the Detector and PyTorch, when asked: `--help` is faster."""
    if name == "__version__":
        from importlib.metadata import version

        return version("a2bgan")
    if name == "Detector":
        from a2bgan.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
