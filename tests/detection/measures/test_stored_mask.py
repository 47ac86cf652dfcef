import numpy as np

from a2bgan.detection.measures.stored_mask import StoredMask


def test_a_mask_comes_back_and_takes_little() -> None:
    mask = np.zeros((251, 77), dtype=bool)
    mask[30:90, 20:50] = True
    stored = StoredMask.of(mask)
    assert np.asarray(stored).dtype == bool
    np.testing.assert_array_equal(np.asarray(stored), mask)
    assert stored.has_lesion and not StoredMask.of(~mask & mask).has_lesion
    assert len(stored._bits) < 200
