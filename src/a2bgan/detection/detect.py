"""Run a trained method over images, batch by batch."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import partial
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.detection import Detection, batch_size_for, in_batches
from a2bgan.detection.scores import SCORES, check_score, map_scores
from a2bgan.errors import InputError
from a2bgan.files.ordered_work import in_order
from a2bgan.models.inference import evaluation_mode
from a2bgan.training.methods.method import Finding, Method

T = TypeVar("T")
_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")

PIXELS_SIDE_BY_SIDE = 2**21
"""Pixels of all batches at once on the cores of a CPU; so many as fit the memory."""


def detect(
    method: Method,
    images: np.ndarray,
    score: str,
    version: str | None = None,
    *,
    half: bool = False,
) -> Iterator[Detection]:
    """Score preprocessed images (N, C, H, W), uint8 or uint16, batch by batch.

    Args:
        score: one of the method's own or of its map's.
        version: one of the method's `versions`, by default its best.
        half: compute convolutions and matrix products in bfloat16, which changes scores slightly.

    Raises InputError for another score.
    """
    return detect_batches(method, _batches_for(method, images), score, version, half=half)


def detect_batches(
    method: Method,
    batches: Iterable[np.ndarray],
    score: str,
    version: str | None = None,
    *,
    half: bool = False,
) -> Iterator[Detection]:
    """`detect` of images that come in batches, which are taken as they are needed."""
    check_score(score, method.facts)
    wanted = partial(score_of, score=score)
    for x, finding, scores in _found(method, batches, version, wanted, half=half):
        found = (finding.twin, finding.anomaly_map, finding.mask)
        parts = (None if part is None else _array(part) for part in found)
        yield Detection(_array(x), _array(scores), *parts)


def all_scores(
    method: Method, images: np.ndarray, version: str | None = None
) -> dict[str, np.ndarray]:
    """All scores of all images, (N,) float64 by name, from one pass."""
    found: dict[str, list[Tensor]] = {}
    for _, _, scores in _found(method, _batches_for(method, images), version, _scores):
        for name, part in scores.items():
            found.setdefault(name, []).append(part.cpu())
    return {name: torch.cat(parts).double().numpy() for name, parts in found.items()}


def score_of(finding: Finding, score: str) -> Tensor:
    """One score (n,) of a batch. Raises InputError if the finding does not allow it."""
    own = finding.scores or {}
    if score in own:
        return own[score]
    if finding.anomaly_map is None or score not in SCORES:
        raise InputError(f"score {score!r}: this run was trained without it; choose another")
    return map_scores(finding.anomaly_map, finding.mask, (score,))[score]


def _scores(finding: Finding) -> dict[str, Tensor]:
    """The method's own scores and all those of its map."""
    own = dict(finding.scores or {})
    if finding.anomaly_map is None:
        return own
    return own | map_scores(finding.anomaly_map, finding.mask)


def _found(
    method: Method,
    batches: Iterable[np.ndarray],
    version: str | None,
    wanted: Callable[[Finding], T],
    *,
    half: bool = False,
) -> Iterator[tuple[Tensor, Finding, T]]:
    """Images, finding and whatever is wanted of the finding, batch by batch."""
    device = method.device

    @torch.no_grad()
    def find(images: np.ndarray) -> tuple[Tensor, Finding, T]:
        x = to_unit_range(images).to(device)
        with torch.autocast(device.type, torch.bfloat16) if half else nullcontext():
            finding = method.find(x, version)
            return x, finding, wanted(finding)

    todo = iter(batches)
    if (first := next(todo, None)) is None:
        return
    pixels = len(first) * first.shape[-1] ** 2
    at_once = PIXELS_SIDE_BY_SIDE // pixels if device.type == "cpu" else 1
    # Here already, so that no thread takes a network out of evaluation mode under another.
    with evaluation_mode(*method.networks.values()):
        yield from side_by_side(find, chain([first], todo), max(1, at_once))


def _batches_for(method: Method, images: np.ndarray) -> Iterator[np.ndarray]:
    return in_batches(images, batch_size_for(method.device.type, images.shape[-1]))


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.float().cpu().numpy()


_sharing = Lock()
"""Held while cores are shared out, for the whole process."""


def side_by_side(
    work: Callable[[_Batch], _Result], batches: Iterable[_Batch], at_once: int
) -> Iterator[_Result]:
    """Do ``work`` on every batch, and yield the results in order.

    Cores of a CPU share one small batch badly: they wait for each other after every layer. So up to
    ``at_once`` batches are worked on at once, each in a thread with its part of the cores. A single
    batch gets all of them, and so do those of a second caller while a first one shares them out.
    ``work`` must not rely on settings of a thread, such as `torch.no_grad`.
    """
    if at_once < 2 or not _sharing.acquire(blocking=False):
        yield from map(work, batches)
        return
    try:
        yield from _shared(work, batches, at_once)
    finally:
        _sharing.release()


def _shared(
    work: Callable[[_Batch], _Result], batches: Iterable[_Batch], at_once: int
) -> Iterator[_Result]:
    cores = torch.get_num_threads()
    todo = iter(batches)
    first = list(islice(todo, min(at_once, cores)))
    todo = chain(first, todo)
    if len(first) < 2:
        yield from map(work, todo)
        return
    share = cores // len(first)
    try:
        # This is set for the thread that asks, and for those that PyTorch meets later.
        with ThreadPoolExecutor(
            len(first), initializer=torch.set_num_threads, initargs=(share,)
        ) as pool:
            yield from in_order(pool, work, todo, ahead=2 * len(first))
    finally:
        torch.set_num_threads(cores)
