"""The row of a benchmark that every method has to beat: one trivial statistic of each image."""

import time

import numpy as np

from a2bgan.benchmark.detection_table import TRIVIAL, Repeat
from a2bgan.benchmark.text_tables import MethodRow
from a2bgan.data.config import DataConfig
from a2bgan.data.manifest import Manifest
from a2bgan.detection.audit.shortcuts import audit_shortcuts
from a2bgan.detection.audit.trivial_statistics import preprocessed_statistic
from a2bgan.detection.evaluate import with_evaluated_labels
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.measures.metrics import auprc, auroc
from a2bgan.training.methods.method import Facts

FACTS = Facts("Best trivial statistic", "", "", uses_mixed=True, makes_map=False, makes_twin=False)


def trivial_row(manifest: Manifest, config: DataConfig) -> MethodRow[Repeat] | None:
    """Score test images by the statistic that best tells the mixed set from the healthy one.

    Statistic and direction come from `audit_shortcuts`, which reads no label; it is that of
    preprocessed images, which are what the methods see. None where nothing can be measured.
    Raises InputError for the cache folder only.
    """
    started = time.monotonic()
    audit = audit_shortcuts(manifest, config)
    rows = [row for row in manifest.split("test") if row.label is not None]
    loaded, rows = load_rows(rows, config)
    rows, _, _ = with_evaluated_labels(rows, loaded.originals, config)
    labels = np.array([row.label for row in rows], dtype=np.int64)
    if audit is None or len(np.unique(labels)) < 2:
        return None
    worst = audit.worst()
    training_seconds = time.monotonic() - started
    values = preprocessed_statistic(loaded.images, worst.statistic)
    scores = values if worst.auroc >= 0.5 else -values
    seconds = time.monotonic() - started - training_seconds
    metrics = {
        "auroc": auroc(labels, scores),
        "auprc": auprc(labels, scores),
        "score": worst.statistic,
        "n_normal": int((labels == 0).sum()),
        "n_abnormal": int((labels == 1).sum()),
        "images_per_second": len(rows) / max(seconds, 1e-9),
        "note": f"{worst.statistic}, mixed against healthy {worst.shown}",
    }
    resources = {"training_seconds": training_seconds, "peak_memory": None, "peak_gpu_memory": None}
    patients = np.array([row.patient_id for row in rows], dtype=np.str_)
    names = [row.name for row in rows]
    return MethodRow(TRIVIAL, FACTS, [Repeat(metrics, resources, names, labels, scores, patients)])
