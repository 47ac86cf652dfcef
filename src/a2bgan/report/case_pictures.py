"""The cases of a report: test images with the highest and lowest scores, as pictures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from a2bgan.data.batches import to_intensities
from a2bgan.data.cache import load_images
from a2bgan.data.manifest import Row
from a2bgan.detection.calibration import Calibration
from a2bgan.detection.trained import Trained
from a2bgan.report.case_names import CaseNames
from a2bgan.report.data_uris import pixels_uri
from a2bgan.report.pictures import paint_map, to_rgb

CASES = 6
"""Images in each group of cases."""


@dataclass(frozen=True, slots=True)
class Case:
    """An image and what is said of it, as texts.

    image: a `data:` URI, of the input and what the method made of it side by side.
    """

    name: str
    score: str
    p_value: str
    image: str


def case_groups(
    trained: Trained,
    rows: Sequence[Row],
    scores: np.ndarray,
    calibration: Calibration | None,
    names: CaseNames,
) -> Iterator[tuple[str, str, list[Case]]]:
    """Titles, notes and cases: the extremes, and the worst mistakes where labels say so.

    rows, scores: of the test images that could be read.
    """
    if not rows:
        return
    order = np.argsort(-scores, kind="stable")
    labels = np.array([-1 if row.label is None else row.label for row in rows])
    shown = ["Input"]
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
    p_values = None
    if calibration is not None:
        p_values = calibration.p_values([row.patient_id for row in rows], scores)
    for title, note, indices in groups:
        if indices:
            pictures = _pictures(trained, [rows[i] for i in indices])
            yield (
                title,
                note,
                [
                    Case(
                        names[rows[i]],
                        f"{scores[i]:.5f}",
                        "" if p_values is None else f"{p_values[i]:.3f}",
                        picture,
                    )
                    for i, picture in zip(indices, pictures, strict=True)
                ],
            )


def _pictures(trained: Trained, rows: Sequence[Row]) -> list[str]:
    """Input, healthy twin and anomaly map of each row, side by side, as far as there are any."""
    loaded = load_images([r.path for r in rows], [r.name for r in rows], trained.config.data)
    found = []
    for batch in trained.judge(loaded.images):
        for k, x in enumerate(batch.x):
            image = to_intensities(x)
            panels = [to_rgb(image)]
            if batch.twin is not None:
                panels.append(to_rgb(to_intensities(batch.twin[k])))
            if batch.anomaly_map is not None:
                scale = trained.method.map_scale
                panels.append(paint_map(image, batch.anomaly_map[k].numpy(), scale))
            gap = np.ones((len(panels[0]), max(1, len(panels[0]) // 32), 3))
            row = [part for panel in panels for part in (gap, panel)][1:]
            found.append(pixels_uri(np.concatenate(row, 1)))
    return found
