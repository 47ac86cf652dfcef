"""Phantom heads: repeatable, lesions where masks say, the same patient in every grid."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from a2bgan.data.generate.phantom_volumes import AFFINES, make_phantom_volume, write_phantom_volumes
from a2bgan.errors import InputError


@pytest.mark.parametrize("affine", AFFINES)
def test_image_and_twin_differ_in_the_mask_and_nowhere_else(affine: str) -> None:
    found = make_phantom_volume(np.random.default_rng(3), 32, affine, diseased=True)
    assert found.mask.any()
    assert (found.image[found.mask] != found.twin[found.mask]).mean() > 0.95
    assert np.array_equal(found.image[~found.mask], found.twin[~found.mask])
    healthy = make_phantom_volume(np.random.default_rng(3), 32, affine)
    assert np.array_equal(healthy.image, found.twin)


def test_grids_are_as_they_are_called() -> None:
    codes, spacings = {}, {}
    for affine in AFFINES:
        matrix = make_phantom_volume(np.random.default_rng(1), 32, affine).affine
        codes[affine] = "".join(nib.aff2axcodes(matrix))
        spacings[affine] = nib.affines.voxel_sizes(matrix)
        oblique = nib.affines.obliquity(matrix).max() > 0.02
        assert oblique == (affine == "oblique")
    assert codes["plain"] == "RAS"
    assert codes["flipped"] != "RAS"
    assert [c in "RL" for c in codes["flipped"]] == [True, False, False]
    assert [c in "RL" for c in codes["permuted"]] != [True, False, False]
    assert np.ptp(spacings["permuted"]) < 1e-9 < np.ptp(spacings["anisotropic"])


def test_a_set_is_the_same_bytes_for_the_same_seed(tmp_path: Path) -> None:
    counts = dict.fromkeys(("healthy", "mixed_normal", "mixed_abnormal", "test_abnormal"), 1)
    for name in ("a", "b"):
        write_phantom_volumes(tmp_path / name, size=32, **counts, test_normal=0, seed=5)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 1 + 4 + 2 + 1
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
    with pytest.raises(InputError, match="too small: use 32"):
        write_phantom_volumes(tmp_path / "c", size=16)
