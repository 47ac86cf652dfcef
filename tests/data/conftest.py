from collections import Counter
from collections.abc import Callable, Sequence

import pytest

from a2bgan.data.set_counts import SetCounts


@pytest.fixture
def tally() -> Callable[[Sequence[dict[str, str]]], SetCounts]:
    """Numbers of rows of a manifest, by split and label."""
    parts = (("healthy", "0"), ("mixed", "0"), ("mixed", "1"), ("test", "0"), ("test", "1"))

    def count(rows: Sequence[dict[str, str]]) -> SetCounts:
        found = Counter((row["split"], row["label"]) for row in rows)
        assert set(found) <= set(parts)
        return SetCounts(*(found[part] for part in parts))

    return count
