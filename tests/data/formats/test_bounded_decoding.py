"""Small files that would keep a decoder busy for minutes are refused at once."""

import io
import time

import numpy as np
import pytest
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


@pytest.mark.parametrize("mode", ["L", "I;16", "F"])
def test_thousands_of_pages(tmp_path, mode):
    page = Image.fromarray(np.arange(256, dtype=np.float32).reshape(16, 16)).convert(mode[0])
    if mode == "I;16":
        page = Image.fromarray(np.arange(256, dtype=np.uint16).reshape(16, 16))
    path = tmp_path / "pages.tif"
    page.save(path, save_all=True, append_images=[page] * 3000)
    started = time.monotonic()
    with pytest.raises(ImageError, match="multi-frame file; split it"):
        read_image(path, PIXELS)
    assert time.monotonic() - started < 1
