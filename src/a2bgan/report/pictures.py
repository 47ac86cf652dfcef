"""One picture per image: the input, its healthy twin, and the anomaly map painted over the input.

The input has all pixels of its file (see `a2bgan.report.film`); twin and map, which are smaller,
are enlarged to its size. All pictures of a run share one scale, 0 to `vmax`, so that the same
colour is the same anomaly in each of them. With a twin the map is the difference, or what counts of
it, as a share of the intensity range.
"""

import base64
import io
import math
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from a2bgan.data.preprocessing import Placement
from a2bgan.detection.decisions.contours import place_mask
from a2bgan.errors import InputError
from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.report.film import Film

_COLOURS = np.array([
    (0.34, 0.06, 0.43), (0.51, 0.12, 0.42), (0.68, 0.19, 0.36), (0.83, 0.28, 0.26),
    (0.94, 0.43, 0.13), (0.99, 0.62, 0.03), (0.97, 0.83, 0.25), (0.99, 1.00, 0.64),
])  # fmt: skip
"""Equally spaced colours of a map, between which it is linear: about matplotlib's inferno, whose
import takes longer than a picture. Darker ones cannot be seen on a dark background."""
OPAQUE_FROM = 0.5
"""Share of the scale at which the colour hides the input entirely."""

MAP_NAME = "Anomaly map"
"""Heading of a map, which is no plain difference: it may be smoothed, closed or weighed."""

CONTOUR = "#ffd400"
"""Colour of the line around a region."""

RESEARCH = "For research only."
"""Line on pictures that people read."""

CONTOUR_MEANING = "map above its threshold, not a lesion's edge"
"""Meaning of a contour, in legends."""

PANEL = 320
"""Least height of a panel in pixels; smaller images are enlarged by a whole factor."""

FINEST = 1024
"""Longest side of the grid that lines around regions follow; on larger films they are enlarged."""

# Pixels, for panels of up to _PLAIN pixels; larger ones have them in proportion.
_PLAIN = 512
_MARGIN = 16
_LINE = 28  # of the heading
_CAPTION = 46
_NOTE = 24
_BAR_WIDTH = 18
_BAR_ROOM = 100  # colour bar with its numbers and title
_INK = (32, 32, 32)
_FAINT_INK = (96, 96, 96)


def paint_map(
    image: NDArray[Any], anomaly_map: NDArray[Any], vmax: float = DIFFERENCE_SCALE
) -> NDArray[np.float64]:
    """Paint an anomaly map over the image it belongs to.

    The colours go from purple over orange to pale yellow, as in matplotlib's inferno, without its
    darkest quarter. They are transparent where the map is 0 and opaque from half of `vmax`.

    Args:
        image: (C, H, W) in [0, 1], C is 1 or 3.
        anomaly_map: (H, W), 0 or more.
        vmax: value that gets the brightest colour, above 0; greater ones get it too.

    Returns:
        (H, W, 3) in [0, 1].

    Raises:
        InputError: `vmax` is out of range.
    """
    _check_scale(vmax)
    level = np.clip(anomaly_map / vmax, 0, 1)
    opacity = np.clip(level / OPAQUE_FROM, 0, 1)[..., None]
    painted: NDArray[np.float64] = opacity * map_colours(level) + (1 - opacity) * to_rgb(image)
    return painted


def map_colours(level: NDArray[Any]) -> NDArray[np.float64]:
    """The colours (..., 3) in [0, 1] of shares of the scale (...,) in [0, 1]."""
    places = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(level, places, channel) for channel in _COLOURS.T], axis=-1)


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


def map_layer(anomaly_map: NDArray[Any], vmax: float = DIFFERENCE_SCALE) -> Image.Image:
    """The colours of `paint_map` alone, RGBA, to be laid over the input. Raises InputError."""
    return small_map_layer(anomaly_map, vmax).convert("RGBA")


def small_map_layer(anomaly_map: NDArray[Any], vmax: float = DIFFERENCE_SCALE) -> Image.Image:
    """`map_layer` with a palette, for files a third as large. Raises InputError."""
    _check_scale(vmax)
    level = np.rint(255 * np.clip(anomaly_map / vmax, 0, 1)).astype(np.uint8)
    shares = np.arange(256) / 255
    table = np.column_stack([map_colours(shares), np.clip(shares / OPAQUE_FROM, 0, 1)])
    picture = Image.fromarray(level).convert("P")
    picture.putpalette(np.rint(255 * table).astype(np.uint8).tobytes(), "RGBA")
    return picture


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


def region_lines(mask: NDArray[np.bool_], place: Placement) -> list[NDArray[np.float64]]:
    """`outlines` of a mask (S, S) on a film where it has this place, in pixels of the film."""
    (x0, y0, x1, y1), (left, top, right, bottom) = place
    width, height = x1 - x0, y1 - y0
    scale = min(1.0, FINEST / max(width, height))
    size = (max(1, round(scale * width)), max(1, round(scale * height)))

    def enlarged(values: NDArray[np.float32]) -> NDArray[np.float32]:
        content = np.ascontiguousarray(values[top:bottom, left:right])
        return np.asarray(Image.fromarray(content).resize(size, Image.Resampling.BILINEAR))

    lines = outlines(place_mask(mask, enlarged))
    return [line * (width / size[0], height / size[1]) + (x0, y0) for line in lines]


def draw_triptych(
    film: Film,
    twin: NDArray[Any] | None,
    anomaly_map: NDArray[Any] | None,
    mask: NDArray[np.bool_] | None = None,
    *,
    heading: Sequence[str],
    note: str = "",
    vmax: float = DIFFERENCE_SCALE,
) -> Image.Image:
    """Draw input, healthy twin and anomaly map over the input side by side, with a colour bar.

    The picture names no file and no patient unless the heading does.

    Args:
        film: the input.
        twin: its healthy twin, (C, S, S) in [0, 1]; None leaves the panel out.
        anomaly_map: (S, S), 0 or more; None leaves the panel out.
        mask: (S, S), regions whose contours are drawn over the input.
        heading: lines written above; the first is larger.
        note: a line written below.
        vmax: top of the scale, above 0; give all pictures of a run the same.

    Raises:
        InputError: `vmax` is out of range.
    """
    picture = film.picture()
    # A long strip of few rows is not enlarged to a picture that is larger than any screen.
    factor = max(1, math.ceil(PANEL / max(picture.height, picture.width / 2)))
    size = (factor * picture.width, factor * picture.height)
    own = picture.convert("RGB").resize(size, Image.Resampling.NEAREST)
    panels = {("Input", film.size): own}
    if twin is not None:
        panel = Image.new("RGB", size)
        _paste(panel, to_pil(to_rgb(twin)), film.place, factor)
        panels["Healthy twin", _enlarged(twin, film)] = panel
    if anomaly_map is not None:
        panel = own.copy()
        _paste(panel, map_layer(anomaly_map, vmax), film.place, factor)
        panels[MAP_NAME, _enlarged(anomaly_map, film)] = panel
    if mask is not None:
        own = panels["Input", film.size] = own.copy()
        draw, width = ImageDraw.Draw(own), max(2, round(max(size) / 400))
        for line in region_lines(mask, film.place):
            draw.line([(x * factor, y * factor) for x, y in line.tolist()], CONTOUR, width)
    canvas, (left, top) = _page(panels, heading, note, page_unit(film), anomaly_map is not None)
    if anomaly_map is not None:
        title = map_unit(twin is not None)
        _draw_colour_bar(canvas, left, top, size[1], vmax, title, page_unit(film))
    return canvas


def _page(
    panels: dict[tuple[str, str], Image.Image],
    heading: Sequence[str],
    note: str,
    unit: float,
    with_bar: bool,
) -> tuple[Image.Image, tuple[int, int]]:
    """Panels of one size side by side with names and sizes below, between a heading and a note, and
    the upper left corner of the room for a colour bar."""
    width, height = next(iter(panels.values())).size
    margin, caption = (round(unit * side) for side in (_MARGIN, _CAPTION))
    header = heading_height(len(heading), unit)
    lefts = [margin]
    for _, size in panels:
        room = max(width, math.ceil(_font(12, unit).getlength(size)))
        lefts.append(lefts[-1] + room + margin)
    bar_room = round(unit * _BAR_ROOM) if with_bar else 0
    widths = [_font(18, unit).getlength(text) for text in heading]
    widths.append(_font(12, unit).getlength(note))
    whole = max(lefts[-1] + bar_room, math.ceil(max(widths)) + 2 * margin)
    footer = round(unit * _NOTE) if note else 0
    canvas = Image.new("RGB", (whole, header + height + caption + footer), "white")
    draw_heading(canvas, heading, unit)
    draw = ImageDraw.Draw(canvas)
    for left, ((name, size), panel) in zip(lefts, panels.items(), strict=False):
        canvas.paste(panel, (left, header))
        below = header + height
        draw.text((left, below + 0.3 * caption), name, _INK, _font(15, unit), anchor="lm")
        draw.text((left, below + 0.75 * caption), size, _FAINT_INK, _font(12, unit), anchor="lm")
    middle = canvas.height - footer / 2
    draw.text((margin, middle), note, _FAINT_INK, _font(12, unit), anchor="lm")
    return canvas, (lefts[-2] + width + margin, header)


def page_unit(film: Film) -> float:
    """Factor by which texts and margins are larger around a large film, so that they can be read
    where the whole picture is on a screen."""
    return max(1.0, float(film.levels.shape[0] / _PLAIN))


def heading_height(lines: int, unit: float) -> int:
    """Pixels of a heading of so many lines."""
    return round(unit * (_MARGIN + _LINE * lines))


def draw_heading(canvas: Image.Image, heading: Sequence[str], unit: float) -> None:
    """Write the lines of a heading, over whatever heading was there."""
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, heading_height(len(heading), unit) - 1), "white")
    for number, text in enumerate(heading):
        font, ink = (_font(18, unit), _INK) if number == 0 else (_font(15, unit), _FAINT_INK)
        y = unit * (_MARGIN / 2 + _LINE * (number + 0.5))
        draw.text((unit * _MARGIN, y), text, ink, font, anchor="lm")


def _paste(panel: Image.Image, layer: Image.Image, place: Placement, factor: int) -> None:
    """Lay a picture (S, S) over a film that was enlarged by a factor, at its place."""
    x0, y0, x1, y1 = (factor * edge for edge in place.box)
    size = (x1 - x0, y1 - y0)
    left, top, right, bottom = place.content
    same = (right - left, bottom - top) == tuple(side // factor for side in size)
    content = layer.crop(place.content)
    how = Image.Resampling.NEAREST if same else Image.Resampling.BILINEAR
    content = content.resize(size, how)
    panel.paste(content, (x0, y0), content if content.mode == "RGBA" else None)


def _enlarged(picture: NDArray[Any], film: Film) -> str:
    """Size of a network's picture (..., S, S), and whether it was enlarged to the film."""
    size = f"{picture.shape[-1]} × {picture.shape[-2]}"
    return f"{size}, enlarged" if max(picture.shape[-2:]) < max(film.levels.shape) else size


def map_unit(with_twin: bool) -> str:
    """Unit of a map's scale; with a twin it holds for maps that are smoothed, closed or weighed."""
    return "change that counts, share of range" if with_twin else "distance from healthy"


def _draw_colour_bar(
    canvas: Image.Image, left: int, top: int, height: int, vmax: float, title: str, unit: float
) -> None:
    """Draw the bar with its scale into the room right of the panels."""
    draw = ImageDraw.Draw(canvas)
    width = round(unit * _BAR_WIDTH)
    bar = to_pil(colour_bar(vmax)).resize((width, height), Image.Resampling.BILINEAR)
    canvas.paste(bar, (left, top))
    for share, text in ((0.0, "0"), (0.5, f"{vmax / 2:.3g}"), (1.0, f"≥ {vmax:.3g}")):
        y = top + (1 - share) * (height - 1)
        anchor = {0.0: "lb", 0.5: "lm", 1.0: "lt"}[share]
        draw.text((left + width + 6 * unit, y), text, _INK, _font(13, unit), anchor=anchor)
    _, _, length, line = (int(side) for side in _font(12, unit).getbbox(title))
    label = Image.new("RGB", (length, line + 4), "white")
    ImageDraw.Draw(label).text((0, 0), title, _FAINT_INK, _font(12, unit))
    label = label.rotate(90, expand=True)
    right = left + round(unit * (_BAR_ROOM - _MARGIN))
    canvas.paste(label, (right - label.width, top + (height - length) // 2))


def _check_scale(vmax: float) -> None:
    if not 0 < vmax < math.inf:
        raise InputError(f"vmax is {vmax:g}: the top of the scale must be above 0")


def grey_or_rgb(image: NDArray[Any]) -> Image.Image:
    """(C, H, W) in [0, 1], C 1 or 3, as a picture of 8 bits; values outside are cut off."""
    picture = to_pil(to_rgb(image))
    return picture.convert("L") if len(image) == 1 else picture


def to_pil(pixels: NDArray[np.float64]) -> Image.Image:
    """(H, W, 3) in [0, 1] as a picture of 8 bits."""
    return Image.fromarray(np.round(pixels * 255).astype(np.uint8))


def picture_uri(picture: Image.Image) -> str:
    """A picture as a text that stands in a page in place of a file, a PNG."""
    file = io.BytesIO()
    picture.save(file, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


@cache
def _font(size: int, unit: float = 1.0) -> ImageFont.FreeTypeFont:
    """DejaVu Sans as matplotlib ships it, so that pictures look alike on every machine."""
    package = find_spec("matplotlib")  # its import takes a while
    assert package is not None and package.origin is not None
    file = Path(package.origin).parent / "mpl-data/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(file, round(size * unit))
