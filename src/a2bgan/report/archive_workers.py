"""Ray Data's workers, which share the parts of an archive: on a laptop, or on a cluster."""

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from a2bgan.detection.open_model import open_model
from a2bgan.errors import InputError, not_installed
from a2bgan.report.archive import Archive, PartScorer

CORES = 4
"""Processor cores of a worker, unless the user says otherwise."""

RETRIES = 3
"""How often a part is tried again whose worker was lost; a file that kills its worker would do so
for ever."""

BLOCKS = 32
"""Hand-outs of parts for each worker: what is lost with a worker is small, and so is what Ray
remembers."""


@dataclass(frozen=True, slots=True)
class Opening:
    """The arguments of `open_model`, by which every worker opens the model for itself."""

    path: Path
    checkpoint: str = "selected"
    score: str | None = None
    runtime: str | None = None
    half: bool = False


def score_parts(
    archive: Archive, opening: Opening, cores: int | None = None, workers: int | None = None
) -> Iterator[int]:
    """Have the missing parts made; yields the number of images after each part.

    Ray starts on this machine alone, unless RAY_ADDRESS names a cluster that is there. A worker
    has a GPU where there are any.

    cores, workers: of each worker, and how many; by default `CORES`, and as many as fit.
    Raises InputError if Ray is missing, or a part cannot be made.
    """
    if not (missing := archive.missing()):
        return
    ray = _start()
    from ray.data import ActorPoolStrategy, DataContext, from_items
    from ray.exceptions import RayError

    try:
        context = DataContext.get_current()
        context.enable_progress_bars = False
        there = ray.cluster_resources()
        each = min(cores or CORES, int(there.get("CPU", 1)))
        gpus = int(there.get("GPU", 0))
        fit = gpus or int(there.get("CPU", 1)) // each
        count = max(1, min(workers or fit, len(missing)))
        blocks = min(len(missing), BLOCKS * count)
        done = from_items(missing, override_num_blocks=blocks).map_batches(
            _Worker,
            fn_constructor_args=(archive, opening),
            batch_size=1,
            compute=ActorPoolStrategy(size=count),
            num_cpus=each,
            num_gpus=1 if gpus else 0,
            max_task_retries=RETRIES,
        )
        for row in done.iter_rows():
            yield int(row["images"])
    except RayError as error:
        cause = getattr(error, "cause", None)
        if isinstance(cause, InputError):
            raise cause from None
        reason = " ".join(str(cause or error).split())[:300]
        raise InputError(f"{archive.out}: a worker failed ({reason})") from None
    finally:
        ray.shutdown()


class _Worker:
    """One model, in a process of its own."""

    def __init__(self, archive: Archive, opening: Opening) -> None:
        o = opening
        model, calibration = open_model(o.path, o.checkpoint, o.score, o.runtime, o.half)
        if model.fingerprint != archive.fingerprint:
            raise InputError(f"{o.path}: another model on this machine than where it was started")
        if calibration is not None and not calibration.applies_to(model.pick):
            calibration = None
        self._scorer = PartScorer(archive, model, calibration)

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"images": np.array([self._scorer.make(int(n)) for n in batch["item"]])}


def _start() -> Any:
    """Ray, connected or started: it reports to nobody, and shows no dashboard."""
    os.environ |= {"RAY_USAGE_STATS_ENABLED": "0"}
    try:
        import ray
        import ray.data
    except ImportError:
        raise not_installed("ray", "scale") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        # Nothing but numbers of parts goes through the store.
        quiet |= {"include_dashboard": False, "object_store_memory": 128 * 2**20}
        quiet |= {"_node_ip_address": "127.0.0.1"}
    ray.init(**quiet)
    return ray
