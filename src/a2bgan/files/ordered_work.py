"""Work in other threads, results in order, a bounded part of it under way."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

# Average size of the files from which reading in several threads is faster than in one: decoding
# and resizing release the interpreter lock, but small files spend most of their time in Python,
# where a second thread only gets in the way.
THREADS_PAY_ABOVE_BYTES = 16_384

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_order(
    pool: Executor, task: Callable[[_Item], _Result], items: Iterable[_Item], ahead: int
) -> Iterator[_Result]:
    """Results in the order of the items, with at most ``ahead`` begun that were not yet taken.

    Unlike ``Executor.map``, which begins everything at once and so keeps everything in memory. An
    exception of a task is raised where its result would be; what has not begun then never does.
    """
    begun: deque[Future[_Result]] = deque()
    try:
        for item in items:
            begun.append(pool.submit(task, item))
            if len(begun) >= ahead:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
    finally:
        for future in begun:
            future.cancel()


def read_in_order(
    task: Callable[[_Item], _Result], items: Sequence[_Item], sizes: Sequence[int]
) -> Iterator[_Result]:
    """Results in the order of the items, each a file to read, in as many threads as pay.

    sizes: of the files in bytes.
    """
    large = sum(sizes) / max(1, len(sizes)) > THREADS_PAY_ABOVE_BYTES
    threads = (os.cpu_count() or 1) if large else 1
    if threads == 1:
        yield from map(task, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from in_order(pool, task, items, ahead=64 * threads)
