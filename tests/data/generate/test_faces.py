import numpy as np
import pytest

from a2bgan.data.generate.faces import make_face, write_faces
from a2bgan.data.generate.phantoms import OBJECTS, make_phantom
from a2bgan.data.manifest import read_manifest
from a2bgan.errors import InputError


def rng(seed):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("kind", ["glasses", *OBJECTS])
def test_pairs_differ_where_the_object_is_and_nowhere_else(kind):
    for seed in range(5):
        if kind == "glasses":
            found, without = make_face(rng(seed), 64, True), make_face(rng(seed), 64, False)
        else:
            found, without = make_phantom(rng(seed), 64, kind), make_phantom(rng(seed), 64)
        np.testing.assert_array_equal(found.twin, without.image)
        changed = found.image != found.twin
        changed = changed.any(axis=-1) if changed.ndim == 3 else changed
        assert not (changed & ~found.mask).any()
        assert 0.002 < found.mask.mean() < 0.15
        difference = np.abs(found.image.astype(int) - found.twin)[found.mask]
        assert difference.mean() > 10


def test_training_never_has_a_pair(tmp_path):
    counts = {"healthy": 4, "mixed_normal": 2, "mixed_abnormal": 3}
    manifest = read_manifest(
        write_faces(tmp_path / "faces", size=32, **counts, test_normal=2, test_abnormal=2)
    )
    assert manifest.counts() == {"healthy": 4, "mixed": 5, "test": 4, "extra": 0}
    assert {row.split for row in manifest.rows if row.twin is not None} == {"test"}
    assert sum(1 for _ in (tmp_path / "faces/twins").iterdir()) == 4
    with pytest.raises(InputError, match="size 16 is too small"):
        make_face(rng(0), 16)
