"""Work in other threads, results in order, a bounded part of it under way."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from typing import TypeVar

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
