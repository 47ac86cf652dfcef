"""Small files that would keep a decoder busy for minutes are refused at once."""

import io
import time

import numpy as np
import pytest
import tifffile
from PIL import Image

from a2bgan.data.formats.jpeg_stream import MOST_SCANS
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_image

PIXELS = 10_000_000


def progressive(size: int = 256) -> bytes:
    rng = np.random.default_rng(0)
    file = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size, size)).astype(np.uint8)).save(
        file, "JPEG", progressive=True
    )
    return file.getvalue()


def test_thousands_of_scans(tmp_path):
    stream = progressive()
    scan = stream[stream.rindex(b"\xff\xda") : -2]
    path = tmp_path / "scans.jpg"
    path.write_bytes(stream[:-2] + scan[:14] * (MOST_SCANS + 1) + b"\xff\xd9")
    started = time.monotonic()
    with pytest.raises(ImageError, match=f"more than {MOST_SCANS} scans"):
        read_image(path, PIXELS)
    assert time.monotonic() - started < 1
    (tmp_path / "good.jpg").write_bytes(stream)
    assert read_image(tmp_path / "good.jpg", PIXELS).shape == (256, 256)


@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32])
def test_thousands_of_pages(tmp_path, kind):
    pages = np.tile(np.arange(256, dtype=kind).reshape(16, 16), (3000, 1, 1))
    path = tmp_path / "pages.tif"
    tifffile.imwrite(path, pages, photometric="minisblack", metadata=None)
    started = time.monotonic()
    with pytest.raises(ImageError, match="multi-frame file; split it"):
        read_image(path, PIXELS)
    assert time.monotonic() - started < 1
