"""How well a run detects and localises, on a labelled split."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from a2bgan.data.cache import Failure, load_images
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.preprocessing import DataConfig, preprocess_mask
from a2bgan.data.readers import ImageError, read_mask
from a2bgan.detection.bootstrap import bootstrap_auroc_interval
from a2bgan.detection.detect import detect
from a2bgan.detection.localisation import aupro, pixel_ap, pixel_auroc, twin_error
from a2bgan.detection.metrics import auprc, auroc, sensitivity_at_specificity
from a2bgan.detection.trained import Trained
from a2bgan.errors import InputError


@dataclass(frozen=True, slots=True)
class Evaluation:
    """metrics: what ``metrics.json`` holds; rows and scores: the images behind it, in order;
    failures: images or masks left out, with the reason."""

    metrics: dict[str, Any]
    rows: list[Row]
    scores: np.ndarray
    failures: list[Failure]


def evaluate(
    trained: Trained,
    manifest: Manifest,
    *,
    split: str = "test",
    score: str = "mean",
    cache_dir: Path | None = None,
) -> Evaluation:
    """Score a split and compare with its labels, and with its masks and twins where it has them.

    Measures that the split does not allow (one class only, no masks) are None. Raises InputError
    if the split has no labelled images that can be read.
    """
    config = trained.config.data
    labelled = [row for row in manifest.split(split) if row.label is not None]
    if not labelled:
        raise InputError(f"split {split}: no labelled images; `a2bgan predict` needs no labels")
    loaded = load_images([r.path for r in labelled], [r.name for r in labelled], config, cache_dir)
    if not len(loaded.images):
        raise InputError(f"split {split}: none of its {len(labelled)} images can be read")
    rows = [labelled[i] for i in loaded.index]
    masks, failures = _lesion_masks(rows, config)
    failures = [*loaded.failures, *failures]

    batches = list(detect(trained.method, loaded.images, score))
    scores = np.concatenate([batch.scores.numpy() for batch in batches]).astype(np.float64)
    labels = np.array([row.label for row in rows])
    interval = bootstrap_auroc_interval(labels, scores, np.array([r.patient_id for r in rows]))
    metrics: dict[str, Any] = {
        "auroc": auroc(labels, scores),
        "auroc_ci": None if interval is None else list(interval),
        "auprc": auprc(labels, scores),
        "sensitivity_at_95_specificity": sensitivity_at_specificity(labels, scores, 0.95),
        "n_normal": int((labels == 0).sum()),
        "n_abnormal": int((labels == 1).sum()),
        "n_failed": len(failures),
        "split": split,
        "score": score,
        "checkpoint": trained.checkpoint,
        "manifest_sha256": manifest.sha256,
    }
    masked = [i for i, mask in enumerate(masks) if mask is not None]
    lesions = np.array([masks[i] for i in masked])
    if lesions.any():
        maps = np.concatenate([batch.difference.numpy() for batch in batches])[masked]
        metrics["pixel_auroc"] = pixel_auroc(maps, lesions)
        metrics["pixel_ap"] = pixel_ap(maps, lesions)
        metrics["aupro"] = aupro(maps, lesions)
    if all(rows[i].twin is not None for i in masked) and lesions.any():
        to_share = np.float32(np.iinfo(loaded.images.dtype).max)
        translated = np.concatenate([batch.twin.numpy() for batch in batches])[masked]
        twins = load_images(
            [rows[i].twin or rows[i].path for i in masked],
            [rows[i].name for i in masked],
            config,
            cache_dir,
        )
        if not twins.failures:
            error = twin_error(
                loaded.images[masked] / to_share,
                twins.images / to_share,
                (translated + 1) / 2,
                lesions,
            )
            metrics |= {f"twin_{name}": _finite(value) for name, value in error.items()}
    return Evaluation(metrics, rows, scores, failures)


def _lesion_masks(
    rows: Sequence[Row], config: DataConfig
) -> tuple[list[np.ndarray | None], list[Failure]]:
    """Each image's mask (size, size); empty for normal images, None where it is not known."""
    masks: list[np.ndarray | None] = []
    failures = []
    for row in rows:
        if row.mask is not None:
            try:
                mask = preprocess_mask(read_mask(row.mask, config.max_pixels), config)
            except ImageError as error:
                failures.append(Failure(row.name, f"mask: {error}"))
                mask = None
        else:
            mask = np.zeros((config.size, config.size), dtype=bool) if row.label == 0 else None
        masks.append(mask)
    return masks, failures


def _finite(value: float | None) -> float | None:
    """JSON has no infinity, which is the PSNR of equal images."""
    return value if value is not None and np.isfinite(value) else None
