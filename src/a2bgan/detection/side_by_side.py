"""Batches judged several at once, each on processor cores of its own."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from threading import Lock
from typing import TypeVar

import torch

from a2bgan.files.ordered_work import in_order

_Batch = TypeVar("_Batch")
_Result = TypeVar("_Result")

_sharing = Lock()
"""Held while cores are shared out, which concerns the whole process."""


def side_by_side(
    judge: Callable[[_Batch], _Result], batches: Iterable[_Batch], at_once: int
) -> Iterator[_Result]:
    """``judge`` of every batch, in their order.

    On a CPU the cores do not share the work of one small batch well: they wait for each other after
    every layer, and for whatever else a core has to do. So up to ``at_once`` batches are judged at
    once, each in a thread with its part of the cores; one batch alone gets all of them, as does
    every batch where ``at_once`` is 1, and those of a second caller while a first one shares the
    cores out. ``judge`` must not rely on what is set for a thread, such as `torch.no_grad`.
    """
    if at_once < 2 or not _sharing.acquire(blocking=False):
        yield from map(judge, batches)
        return
    try:
        yield from _shared(judge, batches, at_once)
    finally:
        _sharing.release()


def _shared(
    judge: Callable[[_Batch], _Result], batches: Iterable[_Batch], at_once: int
) -> Iterator[_Result]:
    cores = torch.get_num_threads()
    todo = iter(batches)
    first = list(islice(todo, min(at_once, cores)))
    todo = chain(first, todo)
    if len(first) < 2:
        yield from map(judge, todo)
        return
    share = cores // len(first)
    try:
        # This is set for the thread that asks, and for those that PyTorch meets later.
        with ThreadPoolExecutor(
            len(first), initializer=torch.set_num_threads, initargs=(share,)
        ) as pool:
            yield from in_order(pool, judge, todo, ahead=2 * len(first))
    finally:
        torch.set_num_threads(cores)
