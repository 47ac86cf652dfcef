"""One picture per image: the input, its healthy twin, and the anomaly map painted over the input.

All pictures of a run share one scale, 0 to `vmax`, so that the same colour is the same anomaly in
each of them. With a twin the map is the difference, or what counts of it, as a share of the
intensity range.
"""

import base64
import io
import math
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from a2bgan.errors import InputError
from a2bgan.models.blend import DIFFERENCE_SCALE

_DARKEST = 0.25  # inferno starts here: below, it is too near black to be seen on a dark background
OPAQUE_FROM = 0.5
"""Share of the scale at which the colour hides the input entirely."""

MAP_NAME = "Anomaly map"
"""Heading of a map, which is no plain difference: it may be smoothed, closed or weighed."""

CONTOUR = "#ffd400"
"""Colour of the line around a region."""

PANEL = 320
"""Least height of a panel in pixels; smaller images are enlarged by a whole factor."""

_HIGHEST = 384  # pixels of a picture in a page
_MARGIN = 16
_HEADER = 44
_CAPTION = 30
_BAR_WIDTH = 18
_BAR_ROOM = 100  # colour bar with its numbers and title
_INK = (32, 32, 32)
_FAINT_INK = (96, 96, 96)


def paint_map(
    image: NDArray[Any], anomaly_map: NDArray[Any], vmax: float = DIFFERENCE_SCALE
) -> NDArray[np.float64]:
    """Paint an anomaly map over the image it belongs to.

    The colours are the upper three quarters of matplotlib's inferno, from purple to pale yellow.
    They are transparent where the map is 0 and opaque from half of `vmax`.

    Args:
        image: (C, H, W) in [0, 1], C is 1 or 3.
        anomaly_map: (H, W), 0 or more.
        vmax: value that gets the brightest colour, above 0; greater ones get it too.

    Returns:
        (H, W, 3) in [0, 1].

    Raises:
        InputError: `vmax` is out of range.
    """
    if not 0 < vmax < math.inf:
        raise InputError(f"vmax is {vmax:g}: the top of the scale must be above 0")
    level = np.clip(anomaly_map / vmax, 0, 1)
    opacity = np.clip(level / OPAQUE_FROM, 0, 1)[..., None]
    painted: NDArray[np.float64] = opacity * map_colours(level) + (1 - opacity) * to_rgb(image)
    return painted


def map_colours(level: NDArray[Any]) -> NDArray[np.float64]:
    """The colours (..., 3) in [0, 1] of shares of the scale (...,) in [0, 1]."""
    colours: NDArray[np.float64] = matplotlib.colormaps["inferno"](
        _DARKEST + (1 - _DARKEST) * level
    )[..., :3]
    return colours


def colour_bar(vmax: float = DIFFERENCE_SCALE) -> NDArray[np.float64]:
    """The colours from `vmax` (first row) to 0 (last row), over mid-grey.

    Returns:
        (256, 1, 3) in [0, 1].
    """
    return paint_map(np.full((1, 256, 1), 0.5), np.linspace(vmax, 0, 256)[:, None], vmax)


def to_rgb(image: NDArray[Any]) -> NDArray[np.float64]:
    """Turn a (C, H, W) image in [0, 1], C 1 or 3, into (H, W, 3); values outside are cut off."""
    pixels = np.clip(np.moveaxis(image, 0, -1), 0, 1).astype(np.float64)
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Closed lines around the regions of a mask (H, W), along the edges of their pixels.

    Returns:
        (n, 2) each: x and y in pixels, 0 at the edge of the image.
    """
    if not mask.any():
        return []
    from skimage.measure import find_contours  # takes a while

    # A pixel of background around it closes the line of a region at the border.
    lines = find_contours(np.pad(mask.astype(np.float64), 1), 0.5)
    return [line[:, ::-1] - 0.5 for line in lines]


def draw_outlines(panel: Image.Image, mask: NDArray[np.bool_], factor: int) -> None:
    """Draw a thin line around the regions of a mask (H, W) into its image, enlarged by a factor."""
    draw = ImageDraw.Draw(panel)
    width = max(1, round(panel.height / PANEL * 2))
    for line in outlines(mask):
        draw.line([(x * factor, y * factor) for x, y in line.tolist()], CONTOUR, width)


def draw_triptych(
    image: NDArray[Any],
    twin: NDArray[Any] | None,
    anomaly_map: NDArray[Any] | None,
    mask: NDArray[np.bool_] | None = None,
    *,
    score: float,
    vmax: float = DIFFERENCE_SCALE,
    title: str = "",
) -> Image.Image:
    """Draw input, healthy twin and anomaly map over the input side by side, with a colour bar.

    The picture names no file and no patient unless `title` does.

    Args:
        image: (C, H, W) in [0, 1], C is 1 or 3.
        twin: its healthy twin, of the same shape and range; None leaves the panel out.
        anomaly_map: (H, W), 0 or more; None leaves the panel out.
        mask: (H, W), regions whose contours are drawn over the input.
        score: the image's anomaly score, written in the heading.
        vmax: top of the scale, above 0; give all pictures of a run the same.
        title: text put before the score.

    Raises:
        InputError: `vmax` is out of range.
    """
    panels = {"Input": to_rgb(image)}
    if twin is not None:
        panels["Healthy twin"] = to_rgb(twin)
    if anomaly_map is not None:
        panels[MAP_NAME] = paint_map(image, anomaly_map, vmax)
    factor = math.ceil(PANEL / image.shape[1])
    height, width = (side * factor for side in image.shape[1:])
    bar_left = len(panels) * (width + _MARGIN) + _MARGIN
    bar_room = 0 if anomaly_map is None else _BAR_ROOM
    heading = f"{title}   score {score:.4f}" if title else f"Score {score:.4f}"
    heading_width = math.ceil(_font(18).getlength(heading)) + 2 * _MARGIN
    canvas = Image.new(
        "RGB", (max(bar_left + bar_room, heading_width), _HEADER + height + _CAPTION), "white"
    )
    draw = ImageDraw.Draw(canvas)
    draw.text((_MARGIN, _HEADER / 2), heading, _INK, _font(18), anchor="lm")
    for position, (caption, pixels) in enumerate(panels.items()):
        left = _MARGIN + position * (width + _MARGIN)
        panel = to_pil(pixels).resize((width, height), Image.Resampling.NEAREST)
        if mask is not None and position == 0:
            draw_outlines(panel, mask, factor)
        canvas.paste(panel, (left, _HEADER))
        middle = (left + width / 2, _HEADER + height + _CAPTION / 2)
        draw.text(middle, caption, _INK, _font(15), anchor="mm")
    if anomaly_map is not None:
        _draw_colour_bar(canvas, bar_left, _HEADER, height, vmax, map_unit(twin is not None))
    return canvas


def map_unit(with_twin: bool) -> str:
    """Unit of a map's scale; with a twin it holds for maps that are smoothed, closed or weighed."""
    return "change that counts, share of range" if with_twin else "distance from healthy"


def _draw_colour_bar(
    canvas: Image.Image, left: int, top: int, height: int, vmax: float, unit: str
) -> None:
    """Draw the bar with its scale into the room right of the panels."""
    draw = ImageDraw.Draw(canvas)
    bar = to_pil(colour_bar(vmax)).resize((_BAR_WIDTH, height), Image.Resampling.BILINEAR)
    canvas.paste(bar, (left, top))
    for share, text in ((0.0, "0"), (0.5, f"{vmax / 2:.3g}"), (1.0, f"≥ {vmax:.3g}")):
        y = top + (1 - share) * (height - 1)
        anchor = {0.0: "lb", 0.5: "lm", 1.0: "lt"}[share]
        draw.text((left + _BAR_WIDTH + 6, y), text, _INK, _font(13), anchor=anchor)
    _, _, width, line = (int(side) for side in _font(12).getbbox(unit))
    label = Image.new("RGB", (width, line + 4), "white")
    ImageDraw.Draw(label).text((0, 0), unit, _FAINT_INK, _font(12))
    label = label.rotate(90, expand=True)
    canvas.paste(label, (left + _BAR_ROOM - _MARGIN - label.width, top + (height - width) // 2))


def to_pil(pixels: NDArray[np.float64]) -> Image.Image:
    """(H, W, 3) in [0, 1] as a picture of 8 bits."""
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def png_uri(png: bytes) -> str:
    """A PNG as a text that stands in a page in place of a file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"


def pixels_uri(pixels: NDArray[np.float64]) -> str:
    """Pixels (H, W, 3) in [0, 1] as `png_uri`, for the browser to enlarge."""
    picture = to_pil(np.clip(pixels, 0, 1))
    if picture.height > _HIGHEST:
        picture.thumbnail((picture.width, _HIGHEST))
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return png_uri(file.getvalue())


@cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, so that pictures look alike on every machine."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf"), size)
