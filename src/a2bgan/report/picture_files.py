"""The picture of each image that `predict` writes, with a heading that says what was found."""

import os
from collections import deque
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.predict import Prediction
from a2bgan.files.atomic import atomic_file
from a2bgan.report.case_facts import case_facts, slice_text
from a2bgan.report.film import film_of, read_film
from a2bgan.report.pictures import (
    CONTOUR_MEANING,
    RESEARCH,
    draw_heading,
    draw_triptych,
    page_unit,
)
from a2bgan.report.written_names import printable

# A third of the time of the default, a tenth larger.
_PNG: dict[str, Any] = {"format": "PNG", "compress_level": 1}


@dataclass(slots=True)
class _Sheet:
    """A picture's lines; unit: the size of its texts, once it is painted."""

    title: str
    slice: str
    score: float
    p_value: float | None
    unit: float = field(default=1.0)


class PictureFiles:
    """Threads that write ``pictures/NAME.png`` into a folder.

    A bounded number of pictures waits; errors are raised later, at the end at the latest.

    Args:
        config: how the images were preprocessed.
        vmax: top of the map's scale.
        rate: of healthy patients flagged.
    """

    def __init__(
        self,
        out: Path,
        config: DataConfig,
        vmax: float,
        calibration: Calibration | None,
        rate: float,
    ) -> None:
        self._out = out
        self._read = partial(read_film, config=config)
        self._vmax = vmax
        self._calibration = calibration
        self._rate = rate
        self._sheets: dict[str, _Sheet] = {}
        (out / "pictures").mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> Self:
        self._threads = os.cpu_count() or 1
        self._pool = ThreadPoolExecutor(self._threads)
        self._waiting: deque[Future[None]] = deque()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if kind is None:
            for future in self._waiting:
                future.result()

    def paint(self, name: str, p: Prediction, scores: NDArray[np.float64]) -> str:
        """Write a picture; returns its file in the folder.

        The p-value is that of the image alone, until `correct` is called.

        scores: (n,) of the image or of each slice.
        """
        assert p.score is not None
        picture = f"pictures/{name}.png"
        p_value = None
        if self._calibration is not None:
            p_value = float(self._calibration.p_values(["one"] * len(scores), scores)[0])
        title = printable(Path(p.input.name).name)
        if p.input.patient_id and p.input.patient_id != p.input.name:
            title += f", patient {printable(p.input.patient_id)}"
        sheet = _Sheet(title, slice_text(p.shown.name), p.score, p_value)
        self._sheets[picture] = sheet
        if len(self._waiting) >= 4 * self._threads:
            self._waiting.popleft().result()
        self._waiting.append(self._pool.submit(self._paint, self._out / picture, p, sheet))
        return picture

    def correct(self, p_values: Mapping[str, float]) -> None:
        """Write the headings of pictures anew whose patient has another p-value.

        p_values: of patients, by their pictures' files, all of which are there.
        """
        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(self._correct, p_values, p_values.values()))

    def _heading(self, sheet: _Sheet) -> list[str]:
        facts = case_facts(sheet.score, sheet.p_value, self._calibration, self._rate)
        return [sheet.title, " · ".join(filter(None, [sheet.slice, *facts]))]

    def _paint(self, path: Path, p: Prediction, sheet: _Sheet) -> None:
        assert p.image is not None
        film = film_of(self._read, p.shown.path, p.image)
        heading = self._heading(sheet)
        sheet.unit = page_unit(film)
        contours = p.mask is not None and p.mask.any()
        picture = draw_triptych(
            film,
            p.twin,
            p.anomaly_map,
            p.mask,
            heading=heading,
            note=f"{RESEARCH} Contour: {CONTOUR_MEANING}." if contours else RESEARCH,
            vmax=self._vmax,
        )
        picture.save(path, **_PNG)

    def _correct(self, picture: str, p_value: float) -> None:
        sheet, path = self._sheets[picture], self._out / picture
        before = self._heading(sheet)
        sheet.p_value = p_value
        heading = self._heading(sheet)
        if heading == before:
            return
        with Image.open(path) as old:
            canvas = old.convert("RGB")
        draw_heading(canvas, heading, sheet.unit)
        with atomic_file(path) as partial:
            canvas.save(partial, **_PNG)
