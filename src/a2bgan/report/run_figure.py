"""The paper's figures 3 and 4 for a run: test images, their healthy twins and the maps."""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from a2bgan.data.batches import to_intensities
from a2bgan.data.cache import StoredForm
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.preprocessing import load_mask
from a2bgan.data.readers import ImageError
from a2bgan.detection.contours import find_regions
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError
from a2bgan.report.figure import FigureCase, write_figure


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
    """Draw ``count`` images of each label, drawn at random, not by how well they came out.

    Abnormal and normal images make a block each; images without a label a third. Raises
    InputError if the split has no image that can be read or the method makes no maps. ``vmax`` is
    the top of the map's scale, by default the method's own; with a ``pixel_threshold`` regions
    above it are outlined.
    """
    facts, rng = trained.method.facts, np.random.default_rng(seed)
    if not facts.makes_map:
        raise InputError(f"{facts.title} makes no maps to draw")
    scale = trained.method.map_scale if vmax is None else vmax
    blocks: dict[int | None, list[FigureCase]] = {}
    for label in (1, 0, None):
        rows = [row for row in manifest.split(split) if row.label == label]
        order = rng.permutation(len(rows))
        blocks[label] = _cases(trained, [rows[i] for i in order[:count]], pixel_threshold)
    if not any(blocks.values()):
        raise InputError(f"split {split}: no image that can be read")
    write_figure(path, blocks[1], blocks[0], unlabelled=blocks[None], vmax=scale)


def _cases(
    trained: Trained, rows: Sequence[Row], pixel_threshold: float | None
) -> list[FigureCase]:
    loaded, read = load_rows(rows, trained.data)
    cases: list[FigureCase] = []
    for batch in trained.detect_images(loaded.images):
        assert batch.anomaly_map is not None
        for i in range(len(batch.x)):
            anomaly_map, found = batch.anomaly_map[i].numpy(), None
            if pixel_threshold is not None:
                found = find_regions(anomaly_map, pixel_threshold)
            cases.append(
                FigureCase(
                    image=to_intensities(batch.x[i]),
                    twin=None if batch.twin is None else to_intensities(batch.twin[i]),
                    anomaly_map=anomaly_map,
                    mask=_mask(read[len(cases)], loaded.originals[len(cases)], trained),
                    score=float(batch.scores[i]),
                    found=found,
                )
            )
    return cases


def _mask(row: Row, original: StoredForm, trained: Trained) -> np.ndarray | None:
    if row.mask is None:
        return None
    try:
        return load_mask(row.mask, trained.config.data, original[:2])
    except ImageError:
        return None
