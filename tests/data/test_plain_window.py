"""The same film gives the same image as an 8-bit and as a 16-bit file."""

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.plain_window import with_plain_window, with_window_of_arrays
from a2bgan.data.preprocessing import load_image

CONFIG = DataConfig(size=32)


def save(path, levels, bits):
    if bits == 8:
        Image.fromarray(levels.astype(np.uint8)).save(path)
    else:
        Image.fromarray(levels.astype(np.uint16) * 257).save(path)
    return path


@pytest.fixture
def film():
    rng = np.random.default_rng(0)
    return np.clip(rng.normal(120, 20, (48, 48)), 30, 220)


@pytest.mark.parametrize(("bits", "plain"), [(8, "full"), (16, "percentile")])
def test_a_film_is_the_same_in_both_depths(tmp_path, film, bits, plain):
    learned = [save(tmp_path / f"{k}.png", film + k, bits) for k in range(3)]
    config = with_plain_window(CONFIG, learned)
    assert config.plain_window == plain
    of_8, of_16 = (load_image(save(tmp_path / f"new{b}.png", film, b), config) for b in (8, 16))
    assert np.abs(of_8.astype(int) - of_16.astype(int)).max() <= 1
    # Without it, each file would be read in its own way.
    of_8, of_16 = (load_image(tmp_path / f"new{b}.png", CONFIG) for b in (8, 16))
    assert np.abs(of_8.astype(int) - of_16.astype(int)).max() > 20


def test_the_more_frequent_depth_decides_and_damaged_files_do_not(tmp_path, film):
    paths = [save(tmp_path / f"{k}.png", film, bits) for k, bits in enumerate((8, 8, 16))]
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert with_plain_window(CONFIG, [*paths, tmp_path / "bad.png"]).plain_window == "full"
    assert with_plain_window(CONFIG, paths[1:]).plain_window == "percentile"  # both occur
    assert with_plain_window(CONFIG, [tmp_path / "bad.png"]) == CONFIG


def test_a_chosen_window_and_files_with_their_own_stay(tmp_path, film, write_dicom):
    path = save(tmp_path / "a.png", film, 8)
    full = DataConfig(size=32, window="full")
    assert with_plain_window(full, [path]) == full
    pixels = film.astype(np.uint16)
    dicom = write_dicom(tmp_path / "a.dcm", pixels, WindowCenter="120", WindowWidth="100")
    assert with_plain_window(CONFIG, [dicom]) == CONFIG
    assert with_plain_window(CONFIG, [dicom, path]).plain_window == "full"


@pytest.mark.parametrize(
    ("dtype", "plain"), [("uint8", "full"), ("uint16", "percentile"), ("float32", "full")]
)
def test_arrays_by_their_type(dtype, plain):
    assert with_window_of_arrays(CONFIG, [np.dtype(dtype)]).plain_window == plain
