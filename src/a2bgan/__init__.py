"""Medical image anomaly detection from healthy and unannotated mixed scans (A2B-GAN)."""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from a2bgan.detector import Detector

__all__ = ["Detector", "__version__"]

__version__ = version("a2bgan")


def __getattr__(name: str) -> Any:
    """Import the Detector, and with it PyTorch, when it is asked for: the command starts faster."""
    if name == "Detector":
        from a2bgan.detector import Detector

        return Detector
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
