"""An image at its own size, as a screen shows it: in the room, in pictures and in the report."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.pixels_at_once import ALL_THREADS
from a2bgan.data.formats.reading import read_picture
from a2bgan.data.preprocessing import Placement, placement, shown_range

LONGEST = 4096
"""Pixels of the longer side of a film; larger originals are reduced to it."""

_TOP = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Film:
    """An image with all its pixels, and the place of what a network made of it.

    levels: (H, W) or (H, W, 3), uint8 or uint16; the file's values are ``offset + step * levels``.
    window: the file's values that are black and white at first, as preprocessing has them.
    shape: height and width in the file, which are larger than those of a film that was reduced.
    place: of the network's pictures, in pixels of the film.
    missing: why the film is the network's own picture and not the file's; "" where it is the file.
    """

    levels: NDArray[Any]
    offset: float
    step: float
    window: tuple[float, float]
    shape: tuple[int, int]
    place: Placement
    missing: str = ""

    @property
    def size(self) -> str:
        """Width and height in the file, and in words whether these are not all of its pixels."""
        full = f"{self.shape[1]} × {self.shape[0]}"
        height, width = self.levels.shape[:2]
        if self.missing:
            return f"{width} × {height}, as the network sees it ({self.missing})"
        if (height, width) != self.shape:
            return f"{full}, reduced to {width} × {height}"
        return full

    def picture(self) -> Image.Image:
        """The film in its window: grey (L) or colours (RGB) of 8 bits."""
        low, high = ((value - self.offset) / self.step for value in self.window)
        top = np.iinfo(self.levels.dtype).max
        shares = (np.arange(top + 1) - low) / max(high - low, 1e-12)
        table = np.rint(255 * np.clip(shares, 0, 1)).astype(np.uint8)
        return Image.fromarray(table[self.levels])

    def reduced(self, longest: int) -> Self:
        """The film with at most so many pixels on its longer side."""
        height, width = self.levels.shape[:2]
        scale = longest / max(height, width)
        if scale >= 1:
            return self
        size = max(1, round(width * scale)), max(1, round(height * scale))
        planes = [self.levels] if self.levels.ndim == 2 else list(np.moveaxis(self.levels, -1, 0))
        smaller = [
            Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BOX)
            for plane in planes
        ]
        values = np.stack([np.asarray(plane) for plane in smaller], axis=-1)
        levels = np.rint(values).astype(self.levels.dtype)
        x0, y0, x1, y1 = self.place.box
        across, down = size[0] / width, size[1] / height
        x0, y0 = round(x0 * across), round(y0 * down)
        box = (x0, y0, max(x0 + 1, round(x1 * across)), max(y0 + 1, round(y1 * down)))
        kept = levels[..., 0] if self.levels.ndim == 2 else levels
        return replace(self, levels=kept, place=Placement(box, self.place.content))

    @property
    def about(self) -> dict[str, Any]:
        """Everything but the levels, as JSON can hold it."""
        found = asdict(replace(self, levels=np.empty(0)))
        del found["levels"]
        return {**found, "levels_shape": self.levels.shape, "bytes": self.levels.itemsize}

    @property
    def content(self) -> bytes:
        """The levels, row by row, little-endian."""
        return self.levels.astype(self.levels.dtype.newbyteorder("<"), copy=False).tobytes()

    @classmethod
    def from_parts(cls, about: dict[str, Any], content: bytes) -> Self:
        """The film of `about` and `content`."""
        known = dict(about)
        shape, size = known.pop("levels_shape"), known.pop("bytes")
        levels = np.frombuffer(content, f"<u{size}").reshape(shape)
        known["place"] = Placement(*map(tuple, known["place"]))
        for name in ("window", "shape"):
            known[name] = tuple(known[name])
        return cls(levels, **known)


def read_film(path: Path, config: DataConfig, longest: int = LONGEST) -> Film:
    """Read an image at its own size, or reduced to ``longest``. Raises ImageError."""
    with ALL_THREADS.one_image():
        values, own = read_picture(path, config.read_options)[:2]
        window = shown_range(values, config, own)
        shape = (values.shape[0], values.shape[1])
        levels, offset, step = _whole_numbers(values)
        whole = Film(levels, offset, step, window, shape, placement(*shape, config))
        return whole.reduced(longest)


def network_film(image: NDArray[Any], missing: str) -> Film:
    """The film of an image (C, S, S) in [0, 1] whose file cannot be read any more.

    missing: why, in a few words.
    """
    levels = np.rint(_TOP * np.clip(np.moveaxis(image, 0, -1), 0, 1)).astype(np.uint16)
    height, width = levels.shape[:2]
    whole = (0, 0, width, height)
    pixels = levels[..., 0] if levels.shape[2] == 1 else levels
    return Film(pixels, 0, 1 / _TOP, (0, 1), (height, width), Placement(whole, whole), missing)


def film_of(read: Callable[[Path], Film], path: Path, image: NDArray[Any]) -> Film:
    """The film of a file or, where ``read`` raises ImageError, of the network's image (C, S, S)."""
    try:
        return read(path)
    except ImageError as error:
        return network_film(image, str(error))


def _whole_numbers(values: NDArray[Any]) -> tuple[NDArray[Any], float, float]:
    """Levels of 8 or 16 bits with their offset and step; whole values, such as Hounsfield units,
    keep a step of 1."""
    if values.dtype != np.float32:
        return values, 0.0, 1.0
    low, high = float(values.min()), float(values.max())
    whole = high - low <= _TOP and bool((values == np.rint(values)).all())
    step = 1.0 if whole or high == low else (high - low) / _TOP
    levels = np.rint((values.astype(np.float64) - low) / step).astype(np.uint16)
    return levels, low, step
