import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from a2bgan.files.ordered_work import in_order


def test_results_come_in_order_and_little_is_begun_ahead():
    begun, most = [], 0

    def slow_if_even(number: int) -> int:
        begun.append(number)
        time.sleep(0.005 * (number % 2 == 0))
        return number**2

    results = []
    with ThreadPoolExecutor(4) as pool:
        for result in in_order(pool, slow_if_even, range(50), ahead=6):
            results.append(result)
            most = max(most, len(begun) - len(results))
    assert results == [k**2 for k in range(50)]
    assert most < 6


def test_an_error_comes_in_its_place_and_ends_the_work():
    started = threading.Event()

    def task(number: int) -> int:
        if number == 3:
            raise ValueError("three")
        if number > 40:
            started.set()
        return number

    taken = []
    with ThreadPoolExecutor(2) as pool, pytest.raises(ValueError, match="three"):
        for result in in_order(pool, task, range(1000), ahead=5):
            taken.append(result)
    assert taken == [0, 1, 2]
    assert not started.is_set()
