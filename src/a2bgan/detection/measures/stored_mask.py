"""A lesion mask that takes little memory."""

import zlib
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray


class StoredMask:
    """A mask (H, W) as its compressed bits, some hundred bytes; `numpy.asarray` makes it bool."""

    __slots__ = ("_bits", "has_lesion", "shape")

    def __init__(self, shape: tuple[int, ...], has_lesion: bool, bits: bytes) -> None:
        self.shape = shape
        self.has_lesion = has_lesion
        self._bits = bits

    @classmethod
    def of(cls, mask: NDArray[np.bool_]) -> Self:
        """Store a mask."""
        return cls(mask.shape, bool(mask.any()), zlib.compress(np.packbits(mask).tobytes(), 1))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        packed = np.frombuffer(zlib.decompress(self._bits), dtype=np.uint8)
        count = self.shape[0] * self.shape[1]
        mask = np.unpackbits(packed, count=count).view(bool).reshape(self.shape)
        return mask if dtype is None else mask.astype(dtype)
