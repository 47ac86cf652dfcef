import threading
from collections.abc import Iterator

import pytest
import torch

from a2bgan.detection.detect import side_by_side


@pytest.fixture(autouse=True)
def four_cores() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def seen(batch: int) -> tuple[int, int, str]:
    """The batch, how many cores it has, and in which thread."""
    return batch, torch.get_num_threads(), threading.current_thread().name


@pytest.mark.parametrize(
    ("batches", "at_once", "share"), [(9, 16, 1), (9, 3, 1), (9, 2, 2), (2, 16, 2), (3, 4, 1)]
)
def test_batches_come_in_order_each_with_its_part_of_the_cores(batches, at_once, share):
    found = list(side_by_side(seen, range(batches), at_once))
    assert [batch for batch, _, _ in found] == list(range(batches))
    assert {cores for _, cores, _ in found} == {share}
    assert threading.current_thread().name not in {name for _, _, name in found}


@pytest.mark.parametrize(("batches", "at_once"), [(1, 16), (5, 1)])
def test_a_batch_that_is_alone_has_all_cores(batches, at_once):
    found = list(side_by_side(seen, range(batches), at_once))
    assert found == [(k, 4, threading.current_thread().name) for k in range(batches)]


def test_as_many_are_worked_on_at_once_as_asked_for():
    all_here = threading.Barrier(3, timeout=20)
    assert list(side_by_side(lambda k: k + 0 * all_here.wait(), range(6), 3)) == list(range(6))


def test_nothing_is_done_with_nothing():
    assert list(side_by_side(seen, [], 4)) == []


def test_batches_are_taken_as_they_are_needed():
    taken = []

    def batches() -> Iterator[int]:
        for k in range(100):
            taken.append(k)
            yield k

    found = side_by_side(seen, batches(), 2)
    assert next(found)[0] == 0
    assert len(taken) < 10
    found.close()
    assert len(taken) < 10


def test_an_error_is_raised_where_its_batch_would_be_and_cores_are_given_back():
    def judge(k: int) -> int:
        if k == 2:
            raise ValueError("batch 2")
        return k

    found = side_by_side(judge, range(5), 4)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(ValueError, match="batch 2"):
        next(found)
    assert torch.get_num_threads() == 4
    # Threads that PyTorch has not met yet, too.
    later: list[int] = []
    thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    assert later == [4]


def test_a_second_caller_takes_no_part_in_the_sharing():
    first = side_by_side(seen, range(6), 2)
    assert next(first)[1] == 2
    assert {cores for _, cores, _ in side_by_side(seen, range(3), 2)} == {4}
    assert {cores for _, cores, _ in first} == {2}
    assert torch.get_num_threads() == 4
    assert {cores for _, cores, _ in side_by_side(seen, range(3), 2)} == {2}
