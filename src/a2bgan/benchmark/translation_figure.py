"""Translations of the same images side by side: a row an image, a column a method."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from a2bgan.data.manifest import Manifest
from a2bgan.data.unit_range import in_unit_range, to_intensities
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.measures.translation_quality import translations, twin_of
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError
from a2bgan.report.pictures import to_rgb

COUNT = 8
"""Images in a figure."""

_DPI = 100
_PANEL = 1.0  # inches
_GAP = 0.04
_HEADER = 0.3

Column = tuple[str, Sequence[NDArray[np.floating]]]
"""A title, and under it images (C, H, W) in [0, 1], C 1 or 3."""


def write_translation_figure(
    path: Path, trained: Mapping[str, Trained], manifest: Manifest
) -> None:
    """Draw `COUNT` random test images that are to be translated, and the output of each method.

    Test images labelled normal are left out; where all that are drawn have a twin that can be read,
    the truth is the last column. ``trained`` is by the titles of the columns, at least one.
    Raises InputError if there is no image that can be read or the file cannot be written.
    """
    rows = [row for row in manifest.split("test") if row.label != 0]
    order = np.random.default_rng(0).permutation(len(rows))
    data = next(iter(trained.values())).data
    loaded, drawn = load_rows([rows[i] for i in order[:COUNT]], data)
    if not drawn:
        raise InputError("no test image to translate that can be read")
    columns: list[Column] = [("input", [*to_intensities(in_unit_range(loaded.images))])]
    for title, each in trained.items():
        images = load_rows(drawn, each.data)[0].images
        made = [
            to_intensities(twin.numpy()) for batch in translations(each, images) for twin in batch
        ]
        columns.append((title, made))
    if all(row.twin is not None for row in drawn):
        truth, known = load_rows([twin_of(row) for row in drawn], data)
        if len(known) == len(drawn):
            columns.append(("truth", [*to_intensities(in_unit_range(truth.images))]))
    try:
        draw_columns(columns).savefig(path, dpi=_DPI)
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror})") from None


def draw_columns(columns: Sequence[Column]) -> Figure:
    """A grid of images under titles. Raises ValueError if columns differ in length."""
    rows = len(columns[0][1])
    step = _PANEL + _GAP
    width, height = len(columns) * step + _GAP, _HEADER + rows * step
    figure = Figure(figsize=(width, height), facecolor="white")
    for column, (title, images) in enumerate(columns):
        if len(images) != rows:
            raise ValueError(f"{title}: {len(images)} images, where others have {rows}")
        left = _GAP + column * step
        centre = ((left + _PANEL / 2) / width, 1 - _HEADER / 2 / height)
        figure.text(*centre, title, ha="center", va="center", size=7.5)
        for row, image in enumerate(images):
            bottom = height - _HEADER - row * step - _PANEL
            place = (left / width, bottom / height, _PANEL / width, _PANEL / height)
            axes = figure.add_axes(place)
            axes.imshow(to_rgb(image))
            axes.set_axis_off()
    return figure
