"""Pictures as texts that stand in a page in place of files."""

import base64
import io

import numpy as np
from PIL import Image

_HIGHEST = 384  # pixels


def svg_uri(svg: str) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}"


def png_uri(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def pixels_uri(pixels: np.ndarray) -> str:
    """(H, W, 3) in [0, 1] as a picture for the browser to enlarge."""
    picture = Image.fromarray(np.round(np.clip(pixels, 0, 1) * 255).astype(np.uint8))
    if picture.height > _HIGHEST:
        picture.thumbnail((picture.width, _HIGHEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return png_uri(file.getvalue())
