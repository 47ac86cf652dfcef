"""The cases of a report: test images with the highest and lowest scores, as pictures."""

import base64
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.manifest import Row
from a2bgan.data.preprocessing import Placement
from a2bgan.data.unit_range import to_intensities
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.contours import find_regions
from a2bgan.detection.examination import ScoredRows
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.trained_model import Trained
from a2bgan.report.case_facts import case_facts, slice_text
from a2bgan.report.case_names import CaseNames
from a2bgan.report.film import Film, film_of, read_film
from a2bgan.report.pictures import (
    CONTOUR_MEANING,
    MAP_NAME,
    grey_or_rgb,
    picture_uri,
    region_lines,
    small_map_layer,
)
from a2bgan.rounding import p_text, score_text

CASES = 6
"""Images in each group of cases."""

LISTED = 1000
"""Test images in the list of all; of more, those with the highest scores."""

UNFOLDED = 20
"""Images with the highest scores at the top of that list; the others are folded away."""

LOSSLESS = 512 * 512
"""Films with more pixels are JPEG in the file, or it would be too large to send."""

LABELS = {0: "normal", 1: "abnormal", None: ""}


@dataclass(frozen=True, slots=True)
class Layer:
    """A picture (a `data:` URI) and its place in a panel, in pixels of the film."""

    uri: str
    x: int
    y: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sight:
    """Picture of a case: the film, and what the method made of it, as layers over it.

    note: the film's size in words. lines: SVG paths around regions.
    """

    film: str
    width: int
    height: int
    note: str
    twin: Layer | None
    anomaly_map: Layer | None
    lines: Sequence[str]


@dataclass(frozen=True, slots=True)
class Case:
    """An image with its name and numbers, as texts.

    anchor: its place in the page. sight: None where the page shows it already.
    """

    name: str
    anchor: str
    facts: Sequence[str]
    sight: Sight | None


@dataclass(frozen=True, slots=True)
class Listed:
    """A line in the list of all test images; anchor: "" where no picture is shown."""

    name: str
    anchor: str
    label: str
    score: str
    p_value: str
    flagged: str


@dataclass
class CasePages:
    """Makes the cases of one report; each is shown once.

    rate: of healthy patients flagged.
    """

    trained: Trained
    calibration: Calibration | None
    names: CaseNames
    rate: float
    _anchors: dict[str, str] = field(default_factory=dict)

    def groups(self, test: ScoredRows) -> Iterator[tuple[str, str, list[Case]]]:
        """Titles, notes and cases: the extremes, and the worst mistakes as far as there are
        labels."""
        if not test.rows:
            return
        order = np.argsort(-test.scores, kind="stable")
        labels = np.array([-1 if row.label is None else row.label for row in test.rows])
        groups: list[tuple[str, str, Sequence[int]]] = [
            ("Most anomalous", f"The highest scores. {self._panels()}", order[:CASES].tolist()),
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
                yield title, note, self._cases(test, chosen, self._p_values(test))

    def behind_threshold(self, healthy: ScoredRows) -> Iterator[tuple[str, str, list[Case]]]:
        """Title, note and cases of the healthy calibration images that the threshold rests on."""
        if self.calibration is None or not healthy.rows:
            return
        chosen = np.argsort(-healthy.scores, kind="stable")[:CASES].tolist()
        note = (
            "Healthy images that nothing was learned from, with the highest scores: they set the "
            "threshold. One that is not healthy makes it too high."
        )
        yield "Behind the threshold", note, self._cases(healthy, chosen, None, of_test=False)

    def listed(self, test: ScoredRows) -> tuple[list[Listed], list[Listed]]:
        """The `UNFOLDED` test images with the highest scores, by score, and the others by name,
        with a link to the picture where one is shown; `groups` comes before."""
        p_values = self._p_values(test)
        chosen = np.argsort(-test.scores, kind="stable")[:LISTED].tolist()
        found = []
        for i in chosen:
            row, p = test.rows[i], None if p_values is None else float(p_values[i])
            flagged = "" if p is None else "flagged" if p <= self.rate else "no"
            found.append(
                Listed(
                    self.names[row],
                    self._anchors.get(row.name, ""),
                    LABELS[row.label],
                    score_text(float(test.scores[i])),
                    "" if p is None else p_text(p),
                    flagged,
                )
            )
        others = sorted(found[UNFOLDED:], key=lambda line: _natural(line.name))
        return found[:UNFOLDED], others

    def _panels(self) -> str:
        """Describe the panels of a case, from left to right."""
        facts = self.trained.method.facts
        shown = ["Input at its own size"]
        if self.calibration is not None and self.calibration.pixel_threshold is not None:
            shown = [f"{shown[0]}, with a contour ({CONTOUR_MEANING})"]
        if facts.makes_twin:
            shown.append("healthy twin")
        if facts.makes_map:
            shown.append(f"{MAP_NAME.lower()} over the input, all on one scale")
        size = self.trained.data.size
        enlarged = f" The network sees {size} × {size}: what it made is enlarged."
        return f"{'; '.join(shown)}.{enlarged if len(shown) > 1 else ''}"

    def _p_values(self, scored: ScoredRows) -> NDArray[np.float64] | None:
        if self.calibration is None:
            return None
        return self.calibration.p_values([r.patient_id for r in scored.rows], scored.scores)

    def _cases(
        self,
        scored: ScoredRows,
        chosen: Sequence[int],
        p_values: NDArray[np.float64] | None,
        *,
        of_test: bool = True,
    ) -> list[Case]:
        """Some of the rows as cases; labels are shown of test images alone."""
        new = [i for i in chosen if scored.rows[i].name not in self._anchors]
        for i in new:
            name = self.names[scored.rows[i]]
            anchor = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "case"
            taken = set(self._anchors.values())
            free = [anchor, *(f"{anchor}-{k}" for k in range(2, len(taken) + 3))]
            self._anchors[scored.rows[i].name] = next(a for a in free if a not in taken)
        sights = dict(zip(new, self._sights([scored.rows[i] for i in new]), strict=True))
        found = []
        for i in chosen:
            row, facts = scored.rows[i], [f"score {score_text(float(scored.scores[i]))}"]
            if p_values is not None:
                p = float(p_values[i])
                facts = case_facts(float(scored.scores[i]), p, self.calibration, self.rate)
            label = LABELS[row.label] if of_test else ""
            known = [label and f"labelled {label}", slice_text(row.name)]
            every = [text for text in (*known, *facts) if text]
            found.append(Case(self.names[row], self._anchors[row.name], every, sights.get(i)))
        return found

    def _sights(self, rows: Sequence[Row]) -> list[Sight]:
        calibration, config = self.calibration, self.trained.data
        threshold = None if calibration is None else calibration.pixel_threshold
        loaded, read = load_rows(rows, config)
        read_it = partial(read_film, config=config)
        found: list[Sight] = []
        for batch in self.trained.detect_images(loaded.images):
            for k, x in enumerate(batch.x):
                film = film_of(read_it, read[len(found)].path, to_intensities(x))
                twin = anomaly_map = None
                lines: list[str] = []
                if batch.twin is not None:
                    twin = _layer(grey_or_rgb(to_intensities(batch.twin[k])), film.place)
                if batch.anomaly_map is not None:
                    values = batch.anomaly_map[k]
                    picture = small_map_layer(values, self.trained.method.map_scale)
                    anomaly_map = _layer(picture, film.place)
                    if threshold is not None:
                        regions = region_lines(find_regions(values, threshold), film.place)
                        lines = [_path(line) for line in regions]
                height, width = film.levels.shape[:2]
                found.append(
                    Sight(_film_uri(film), width, height, film.size, twin, anomaly_map, lines)
                )
        return found


def _layer(picture: Image.Image, place: Placement) -> Layer:
    x0, y0, x1, y1 = place.box
    return Layer(picture_uri(picture.crop(place.content)), x0, y0, x1 - x0, y1 - y0)


def _path(line: NDArray[np.float64]) -> str:
    return "M" + " ".join(f"{x:.1f},{y:.1f}" for x, y in line.tolist()) + "Z"


def _film_uri(film: Film) -> str:
    picture = film.picture()
    if picture.width * picture.height <= LOSSLESS:
        return picture_uri(picture)
    file = io.BytesIO()
    picture.save(file, format="JPEG", quality=90, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _natural(name: str) -> list[str | int]:
    """Sorts "patient 2" before "patient 10"."""
    parts = re.split(r"(\d+)", name)
    return [int(part) if k % 2 else part for k, part in enumerate(parts)]
