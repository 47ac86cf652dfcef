"""The cases of a report: test images with the highest and lowest scores, as pictures."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.manifest import Row
from a2bgan.data.unit_range import to_intensities
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.examination import ScoredRows
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.trained_model import Trained
from a2bgan.report.case_names import CaseNames
from a2bgan.report.pictures import PANEL, draw_outlines, paint_map, pixels_uri, to_pil, to_rgb

CASES = 6
"""Images in each group of cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """An image, its name and its numbers, as texts.

    image: a `data:` URI, of the input and what the method made of it side by side.
    """

    name: str
    score: str
    p_value: str
    image: str


def case_groups(
    trained: Trained, test: ScoredRows, calibration: Calibration | None, names: CaseNames
) -> Iterator[tuple[str, str, list[Case]]]:
    """Titles, notes and cases: the extremes, and the worst mistakes as far as there are labels."""
    rows, scores = test.rows, test.scores
    if not rows:
        return
    order = np.argsort(-scores, kind="stable")
    labels = np.array([-1 if row.label is None else row.label for row in rows])
    pixel_threshold = None if calibration is None else calibration.pixel_threshold
    shown = ["Input"]
    if pixel_threshold is not None:
        shown = ["Input with a line around what lies above the threshold of the map"]
    if trained.method.facts.makes_twin:
        shown.append("healthy twin")
    if trained.method.facts.makes_map:
        shown.append("what is not healthy over the input, all on one scale")
    scale = f" {', '.join(shown)}." if len(shown) > 1 else ""
    groups: list[tuple[str, str, Sequence[int]]] = [
        ("Most anomalous", f"The highest scores.{scale}", order[:CASES].tolist()),
        ("Least anomalous", "The lowest scores.", order[::-1][:CASES].tolist()),
        (
            "Worst mistakes: normal, but high scores",
            "Test images labelled normal with the highest scores.",
            [i for i in order.tolist() if labels[i] == 0][:CASES],
        ),
        (
            "Worst mistakes: abnormal, but low scores",
            "Test images labelled abnormal with the lowest scores.",
            [i for i in order[::-1].tolist() if labels[i] == 1][:CASES],
        ),
    ]
    for title, note, chosen in groups:
        if chosen:
            yield title, note, _cases(trained, test, chosen, calibration, names)


def threshold_cases(
    trained: Trained, healthy: ScoredRows, calibration: Calibration | None, names: CaseNames
) -> Iterator[tuple[str, str, list[Case]]]:
    """Title, note and cases of the healthy calibration images that the threshold rests on."""
    if calibration is None or not healthy.rows:
        return
    chosen = np.argsort(-healthy.scores, kind="stable")[:CASES].tolist()
    note = (
        "Healthy images that nothing was learned from, with the highest scores: they set the "
        "threshold. One that is not healthy makes it too high."
    )
    cases = _cases(trained, healthy, chosen, None, names, calibration.pixel_threshold)
    yield "Behind the threshold", note, cases


def _cases(
    trained: Trained,
    scored: ScoredRows,
    chosen: Sequence[int],
    calibration: Calibration | None,
    names: CaseNames,
    pixel_threshold: float | None = None,
) -> list[Case]:
    """Some of the rows as cases, with p-values where there is a calibration."""
    rows, scores = scored.rows, scored.scores
    p_values = None
    if calibration is not None:
        pixel_threshold = calibration.pixel_threshold
        p_values = calibration.p_values([row.patient_id for row in rows], scores)
    pictures = _pictures(trained, [rows[i] for i in chosen], pixel_threshold)
    return [
        Case(
            names[rows[i]],
            f"{scores[i]:.5f}",
            "" if p_values is None else f"{p_values[i]:.3f}",
            picture,
        )
        for i, picture in zip(chosen, pictures, strict=True)
    ]


def _pictures(trained: Trained, rows: Sequence[Row], pixel_threshold: float | None) -> list[str]:
    """Input, healthy twin and anomaly map of each row, side by side, as far as there are any; the
    input with the contours of its regions."""
    loaded, _ = load_rows(rows, trained.data)
    found = []
    for batch in trained.detect_images(loaded.images):
        for k, x in enumerate(batch.x):
            image = to_intensities(x)
            panels = [to_rgb(image)]
            if batch.twin is not None:
                panels.append(to_rgb(to_intensities(batch.twin[k])))
            if batch.anomaly_map is not None:
                anomaly_map = batch.anomaly_map[k]
                panels.append(paint_map(image, anomaly_map, trained.method.map_scale))
                if pixel_threshold is not None:
                    panels = _outlined(panels, find_regions(anomaly_map, pixel_threshold))
            gap = np.ones((len(panels[0]), max(1, len(panels[0]) // 32), 3))
            row = [part for panel in panels for part in (gap, panel)][1:]
            found.append(pixels_uri(np.concatenate(row, 1)))
    return found


def _outlined(
    panels: list[NDArray[np.float64]], mask: NDArray[np.bool_]
) -> list[NDArray[np.float64]]:
    """Panels (H, W, 3) in [0, 1], enlarged, the first with the contours of a mask (H, W); as they
    are where the mask is empty."""
    if not mask.any():
        return panels
    factor = math.ceil(PANEL / len(mask))  # or a line would be as wide as a pixel
    first, *others = (panel.repeat(factor, 0).repeat(factor, 1) for panel in panels)
    picture = to_pil(first)
    draw_outlines(picture, mask, factor)
    return [np.asarray(picture) / 255, *others]
