"""Contact sheets: tiles, captions and refusals."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from a2bgan.data.contact_sheet import contact_sheet
from a2bgan.errors import InputError


@pytest.mark.parametrize("depth", [8, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_contact_sheet(tmp_path: Path, depth: int, channels: int) -> None:
    dtype, top = (np.uint8, 255) if depth == 8 else (np.uint16, 65535)
    black = np.zeros((30, channels, 32, 32), dtype=dtype)
    half = np.full((1, channels, 32, 32), top // 2, dtype=dtype)
    path = tmp_path / "sheet.png"
    contact_sheet({"healthy": black, "mixed": black[:0], "test": half}, path)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("L"))
    # Twelve black tiles of the 30 images in the first row, one grey tile in the second.
    first, second = pixels[60], pixels[180]
    assert (first == 0).sum() == 12 * 96
    assert (np.abs(second.astype(int) - 127) <= 1).sum() == 96
    # Text above each row.
    assert (pixels[:24] < 100).any()
    assert (pixels[122:144] < 100).any()


def test_a_contact_sheet_says_how_many_of_how_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(
        ImageDraw.ImageDraw, "text", lambda draw, place, text, *style: said.append(text)
    )
    images = np.zeros((1300, 1, 8, 8), dtype=np.uint8)
    sets = {"healthy": images, "mixed": images[:12], "test": images[:1]}
    contact_sheet(sets, tmp_path / "sheet.png")
    assert said == ["healthy: 12 of 1,300 images", "mixed: 12 images", "test: 1 image"]


def test_contact_sheets_that_cannot_be_made(tmp_path: Path) -> None:
    image = np.zeros((1, 1, 32, 32), dtype=np.uint8)
    with pytest.raises(InputError, match="no usable images to show"):
        contact_sheet({"healthy": image[:0]}, tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: cannot be written"):
        contact_sheet({"healthy": image}, tmp_path / "absent" / "a.png")
