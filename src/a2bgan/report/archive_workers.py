"""Ray's workers, which share the parts of an archive: on a laptop, or on a cluster.

Ray's own actors, not Ray Data: parts are numbers, so there are no data to move, and Ray Data takes
longer to start than a thousand images to score (docs/results/engine.md).
"""

import logging
import os
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from a2bgan.detection.open_model import open_model
from a2bgan.errors import InputError, not_installed
from a2bgan.report.archive import Archive, PartScorer

CORES = 4
"""Processor cores of a worker, unless the user says otherwise."""

RETRIES = 3
"""Number of times that a part is tried again whose worker was lost: a file that kills its worker
would do so for ever."""


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
    has a GPU where there are any. A lost worker is replaced as soon as there is room for another
    one; the others go on meanwhile.

    cores, workers: of each worker, and how many; by default `CORES`, and as many as fit.
    Raises InputError if Ray is missing, or a part cannot be made.
    """
    todo = deque(archive.missing())
    if not todo:
        return
    ray = _start()
    from ray.exceptions import RayActorError, RayTaskError

    there = ray.cluster_resources()
    each, gpus = min(cores or CORES, int(there.get("CPU", 1))), int(there.get("GPU", 0))
    fit = gpus or int(there.get("CPU", 1)) // each
    kind = ray.remote(num_cpus=each, num_gpus=1 if gpus else 0)(_Worker)
    lost = Counter[int | None]()
    # What each worker does: a part, or None while it starts.
    busy: dict[Any, tuple[Any, int | None]] = {}

    def start() -> None:
        worker = kind.remote(archive, opening)
        busy[worker.ready.remote()] = worker, None

    try:
        for _ in range(max(1, min(workers or fit, len(todo)))):
            start()
        while todo or any(part is not None for _, part in busy.values()):
            (done,), _ = ray.wait(list(busy), num_returns=1)
            worker, part = busy.pop(done)
            try:
                images = ray.get(done)
            except RayActorError as error:
                lost[part] += 1
                if lost[part] > RETRIES:
                    what = "do not start" if part is None else f"were lost with part {part}"
                    reason = " ".join(str(error).split())[-300:]
                    raise InputError(
                        f"{archive.out}: {lost[part]} workers {what}: {reason}"
                    ) from None
                if part is not None:
                    todo.append(part)
                start()
                continue
            except RayTaskError as error:
                reason = " ".join(str(error.cause).split())[-300:]
                raise InputError(f"{archive.out}: part {part}: {reason}") from None
            if part is not None:
                yield images
            if todo:
                part = todo.popleft()
                busy[worker.make.remote(part)] = worker, part
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

    def ready(self) -> int:
        """Returns when the model is open."""
        return 0

    def make(self, number: int) -> int:
        """See `PartScorer.make`."""
        return self._scorer.make(number)


def _start() -> Any:
    """Ray, connected or started: it reports to nobody, and shows no dashboard."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_worker_niceness", "0")  # or all else on the machine comes first
    try:
        import ray
    except ImportError:
        raise not_installed("ray", "scale") from None
    logging.getLogger("ray").setLevel(logging.ERROR)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if not os.environ.get("RAY_ADDRESS"):
        # Nothing but numbers of parts goes through the store.
        quiet |= {"address": "local", "include_dashboard": False}
        quiet |= {"object_store_memory": 128 * 2**20, "_node_ip_address": "127.0.0.1"}
    ray.init(**quiet)
    return ray
