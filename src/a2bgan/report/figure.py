"""The paper's figures 3 and 4: test images, their healthy twins and the maps, in one grid."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from a2bgan.data.cache.images import StoredForm
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.preprocessing import load_mask
from a2bgan.data.unit_range import to_intensities
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError
from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.report.pictures import (
    CONTOUR,
    CONTOUR_MEANING,
    MAP_NAME,
    RESEARCH,
    colour_bar,
    map_unit,
    outlines,
    paint_map,
    to_rgb,
)

FORMATS = (".png", ".pdf", ".svg")
"""Suffixes of the formats that a figure can have."""

# Inches; at 150 dots per inch two blocks are 1200 pixels wide.
_DPI = 150
_PANEL = 1.12
_GAP = 0.04  # between the panels of one case
_BLOCK_GAP = 0.22
_SCORE = 0.24  # under each case
_HEADER = 0.52
_FOOTER = 0.17  # of each line below
_MARGIN = 0.1
_BAR_ROOM = 0.8
_BAR_WIDTH = 0.11
_BAR_HEIGHT = 2.4  # at most; the bar of a long grid stays this short

_OUTLINE = "#00e5ff"
_FAINT_INK = "#606060"


@dataclass(frozen=True, slots=True, eq=False)
class FigureCase:
    """One test image of the figure.

    Attributes:
        image: (C, H, W) in [0, 1], C is 1 or 3.
        twin: its healthy twin, of the same shape and range; None from methods without.
        anomaly_map: (H, W), 0 or more: with a twin the difference, or what counts of it, in [0, 1].
        mask: (H, W), True where an annotator saw lesion; None where nobody annotated.
        score: the image's anomaly score.
        found: (H, W), True in regions above the calibrated threshold; None where there is none.
    """

    image: NDArray[Any]
    twin: NDArray[Any] | None
    anomaly_map: NDArray[Any]
    mask: NDArray[Any] | None
    score: float
    found: NDArray[np.bool_] | None = None


def write_figure(
    path: Path | BinaryIO,
    abnormal: Sequence[FigureCase],
    normal: Sequence[FigureCase],
    *,
    unlabelled: Sequence[FigureCase] = (),
    vmax: float = DIFFERENCE_SCALE,
) -> None:
    """Draw a grid with a row of input, healthy twin and anomaly map for each case.

    Abnormal cases are the left block and normal ones the right; a class without cases is left out,
    and the only block left, if it has several cases, fills both halves. The map is painted over
    the input on one scale for all cases; where there is a mask, its outline is drawn on top. The
    outline of what was found is drawn over the input.

    Args:
        path: file to write; its suffix, one of `FORMATS`, says the format. An open file gets a PNG.
        abnormal: abnormal test images, in the order of their rows.
        normal: normal test images.
        unlabelled: test images that nobody has labelled, as a block titled "Unlabelled images".
        vmax: top of the map's scale, above 0.

    Raises:
        InputError: there is no case at all, `vmax` is out of range, or the file cannot be written.
    """
    titled = {"Abnormal images": abnormal, "Normal images": normal, "Unlabelled images": unlabelled}
    blocks = {title: cases for title, cases in titled.items() if cases}
    if not blocks:
        raise InputError("no test image to draw: the figure needs at least one")
    lanes = [list(cases) for cases in blocks.values()]
    if len(lanes) == 1 and len(lanes[0]) > 1:
        lanes = [lanes[0][0::2], lanes[0][1::2]]

    rows = max(len(lane) for lane in lanes)
    with_twin = lanes[0][0].twin is not None
    columns = ["input", MAP_NAME.lower()]
    if with_twin:
        columns.insert(1, "healthy twin")
    lane_width = len(columns) * _PANEL + (len(columns) - 1) * _GAP
    grid_width = len(lanes) * lane_width + (len(lanes) - 1) * _BLOCK_GAP
    grid_height = rows * (_PANEL + _SCORE)
    cases = [case for lane in lanes for case in lane]
    legend = {}
    if any(case.mask is not None and case.mask.any() for case in cases):
        legend["annotated lesion"] = _OUTLINE
    if any(case.found is not None and case.found.any() for case in cases):
        legend[f"over the input: {CONTOUR_MEANING}"] = CONTOUR
    page = _Page(
        width=_MARGIN + grid_width + _BAR_ROOM,
        height=_HEADER + grid_height + (1 + len(legend)) * _FOOTER + _GAP,
    )
    lefts = [_MARGIN + index * (lane_width + _BLOCK_GAP) for index in range(len(lanes))]
    centres = [left + lane_width / 2 for left in lefts]
    if len(blocks) == 1:
        centres = [_MARGIN + grid_width / 2]
    for title, centre in zip(blocks, centres, strict=True):
        page.text(centre, 0.16, title, size=10, weight="bold")
    for left, lane in zip(lefts, lanes, strict=True):
        for column, name in enumerate(columns):
            page.text(left + column * (_PANEL + _GAP) + _PANEL / 2, 0.4, name, size=8)
        for row, case in enumerate(lane):
            _draw_case(page, left, _HEADER + row * (_PANEL + _SCORE), case, vmax)

    bar_left = _MARGIN + grid_width + 0.14
    _draw_colour_bar(page, bar_left, grid_height - _SCORE, vmax, map_unit(with_twin))
    below = _HEADER + grid_height + _FOOTER / 2
    page.text(_MARGIN, below, RESEARCH, size=7.5, color=_FAINT_INK, ha="left")
    for line, (meaning, colour) in enumerate(legend.items(), 1):
        _draw_legend(page, below + line * _FOOTER, meaning, colour)
    try:
        page.figure.savefig(path, dpi=_DPI)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def write_run_figure(
    trained: Trained,
    manifest: Manifest,
    path: Path | BinaryIO,
    *,
    split: str = "test",
    count: int = 4,
    seed: int = 0,
    vmax: float | None = None,
    pixel_threshold: float | None = None,
) -> None:
    """Draw ``count`` images of each label, or without one, drawn at random from a split.

    Args:
        vmax: top of the map's scale, by default the method's own.
        pixel_threshold: outline regions of the map above it.

    Raises InputError if no image can be read, the method makes no maps, or as `write_figure`.
    """
    facts, rng = trained.method.facts, np.random.default_rng(seed)
    if not facts.makes_map:
        raise InputError(f"{facts.title} makes no maps to draw")
    scale = trained.method.map_scale if vmax is None else vmax
    blocks: dict[int | None, list[FigureCase]] = {}
    for label in (1, 0, None):
        rows = [row for row in manifest.split(split) if row.label == label]
        order = rng.permutation(len(rows))
        blocks[label] = _run_cases(trained, [rows[i] for i in order[:count]], pixel_threshold)
    if not any(blocks.values()):
        raise InputError(f"split {split}: no image that can be read")
    write_figure(path, blocks[1], blocks[0], unlabelled=blocks[None], vmax=scale)


def _run_cases(
    trained: Trained, rows: Sequence[Row], pixel_threshold: float | None
) -> list[FigureCase]:
    loaded, read = load_rows(rows, trained.data)
    cases: list[FigureCase] = []
    for batch in trained.detect_images(loaded.images):
        assert batch.anomaly_map is not None
        for i in range(len(batch.x)):
            anomaly_map, found = batch.anomaly_map[i], None
            if pixel_threshold is not None:
                found = find_regions(anomaly_map, pixel_threshold)
            cases.append(
                FigureCase(
                    image=to_intensities(batch.x[i]),
                    twin=None if batch.twin is None else to_intensities(batch.twin[i]),
                    anomaly_map=anomaly_map,
                    mask=_row_mask(read[len(cases)], loaded.originals[len(cases)], trained),
                    score=float(batch.scores[i]),
                    found=found,
                )
            )
    return cases


def _row_mask(row: Row, original: StoredForm, trained: Trained) -> np.ndarray | None:
    if row.mask is None:
        return None
    try:
        return load_mask(row.mask, trained.config.data, original[:2])
    except ImageError:
        return None


class _Page:
    """A white figure on which things are placed in inches from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")

    def axes(self, left: float, top: float, width: float, height: float) -> Axes:
        bottom = self.height - top - height
        return self.figure.add_axes(
            (left / self.width, bottom / self.height, width / self.width, height / self.height)
        )

    def text(self, x: float, y: float, text: str, ha: str = "center", **style: Any) -> None:
        self.figure.text(x / self.width, 1 - y / self.height, text, ha=ha, va="center", **style)


def _draw_case(page: _Page, left: float, top: float, case: FigureCase, vmax: float) -> None:
    panels = [to_rgb(case.image), paint_map(case.image, case.anomaly_map, vmax)]
    if case.twin is not None:
        panels.insert(1, to_rgb(case.twin))
    for column, pixels in enumerate(panels):
        axes = page.axes(left + column * (_PANEL + _GAP), top, _PANEL, _PANEL)
        axes.imshow(pixels)
        axes.set_axis_off()
        if column == 0 and case.found is not None:
            _draw_outlines(axes, case.found, CONTOUR)
    if case.mask is not None:
        _draw_outlines(axes, case.mask, _OUTLINE)
    middle = left + (len(panels) * _PANEL + (len(panels) - 1) * _GAP) / 2
    page.text(middle, top + _PANEL + 0.09, f"score {case.score:.4f}", size=7.5)


def _draw_outlines(axes: Axes, mask: NDArray[Any], colour: str) -> None:
    # The limits keep the panel from growing where a line runs along its edge.
    limits = axes.get_xlim(), axes.get_ylim()
    for line in outlines(mask.astype(bool)):
        axes.plot(*(line.T - 0.5), color=colour, linewidth=0.9)  # 0 is the middle of a pixel
    axes.set(xlim=limits[0], ylim=limits[1])


def _draw_colour_bar(page: _Page, left: float, room: float, vmax: float, unit: str) -> None:
    """Draw the one scale of all map panels, centred beside the first rows."""
    height = min(room, _BAR_HEIGHT)
    axes = page.axes(left, _HEADER, _BAR_WIDTH, height)
    axes.imshow(colour_bar(vmax), aspect="auto", extent=(0, 1, 0, vmax))
    axes.set_xticks([])
    axes.yaxis.tick_right()
    axes.yaxis.set_label_position("right")
    axes.set_yticks([0, vmax / 2, vmax], ["0", f"{vmax / 2:.3g}", f"≥ {vmax:.3g}"])
    axes.tick_params(labelsize=7, length=2, width=0.5)
    axes.set_ylabel(unit, fontsize=6.5, color=_FAINT_INK, labelpad=2)
    for spine in axes.spines.values():
        spine.set_linewidth(0.5)


def _draw_legend(page: _Page, y: float, meaning: str, colour: str) -> None:
    """Draw what lines of a colour mean."""
    page.figure.legend(
        handles=[Line2D([], [], color=colour, linewidth=1.4, label=meaning)],
        loc="center left",
        bbox_to_anchor=((_MARGIN - 0.05) / page.width, 1 - y / page.height),
        fontsize=7.5,
        frameon=False,
        handlelength=1.6,
    )
