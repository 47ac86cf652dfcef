"""A bound on the pixels that all threads of a process decode at once.

A file of 200 kB may hold 100 million pixels, which take 1.5 GB while they are decoded and brought
to one size. One such image is meant to be possible; one in every thread is not.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

LARGEST_PIXEL_COUNT = 178_956_970
"""Pillow refuses images of more pixels than this whatever we ask (its decompression-bomb limit)."""

SMALL = 2**20
"""Images of fewer pixels are not counted: all threads together hold little of them."""

PIXELS_A_CORE = 10_000_000
"""A full-size X-ray for every core must be possible, or large machines would wait."""


class PixelsAtOnce:
    """So many pixels may be under way at once; an image of more by itself is under way alone.

    A thread marks its work on one image by `one_image`, and says in it by `claim` what the header
    promises. Work inside work is one.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.under_way = 0
        self.highest = 0
        self._changed = threading.Condition()
        self._of_thread = threading.local()

    @contextmanager
    def one_image(self) -> Iterator[None]:
        """Around everything that is done with an image's full-size pixels."""
        mine = self._of_thread
        if getattr(mine, "working", False):
            yield
            return
        mine.working, mine.claimed = True, 0
        try:
            yield
        finally:
            claimed = mine.claimed
            mine.working, mine.claimed = False, 0
            if claimed:
                with self._changed:
                    self.under_way -= claimed
                    self._changed.notify_all()

    def claim(self, pixels: int) -> None:
        """Wait until there is room for so many pixels, which the end of `one_image` gives back.

        A second claim within one piece of work, such as for a mask, raises the first one to it if
        it is larger, and does not wait: threads that wait while they hold room wait for ever.
        """
        mine = self._of_thread
        if pixels < SMALL or not getattr(mine, "working", False):
            return
        more = pixels - mine.claimed
        if more <= 0:
            return
        with self._changed:
            if not mine.claimed:
                self._changed.wait_for(
                    lambda: not self.under_way or self.under_way + more <= self.most
                )
            self.under_way += more
            self.highest = max(self.highest, self.under_way)
            mine.claimed = pixels


ALL_THREADS = PixelsAtOnce(max(LARGEST_PIXEL_COUNT, PIXELS_A_CORE * (os.cpu_count() or 1)))
"""Bound that all readers share: one image of the largest size, or an X-ray for each core."""
