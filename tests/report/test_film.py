from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.generate.phantom_volumes import write_phantom_volumes
from a2bgan.data.preprocessing import load_image
from a2bgan.report.case_facts import slice_text
from a2bgan.report.film import LONGEST, film_of, network_film, read_film


def values(film) -> np.ndarray:
    return film.offset + film.step * film.levels.astype(np.float64)


def test_a_film_has_the_pixels_and_the_depth_of_its_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    Image.fromarray(pixels).save(tmp_path / "a.tif")
    film = read_film(tmp_path / "a.tif", DataConfig(size=64))
    np.testing.assert_array_equal(film.levels, pixels)
    assert film.levels.dtype == np.uint16
    assert film.window == pytest.approx(np.percentile(pixels[50:250], (0.5, 99.5)))
    assert film.place.box == (0, 50, 200, 250)
    assert film.place.content == (0, 0, 64, 64)
    assert film.size == "200 × 300"
    shown = np.asarray(film.picture())
    low, high = film.window
    wanted = np.rint(255 * np.clip((pixels - low) / (high - low), 0, 1))
    np.testing.assert_allclose(shown, wanted, atol=1)


def test_colour_stays_colour_also_where_the_network_sees_grey(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = DataConfig(size=32, square="pad", crop_top=0.1)
    film = read_film(tmp_path / "a.png", config)
    np.testing.assert_array_equal(np.asarray(film.picture()), pixels)
    # 36 rows of 60 columns are left; they fill 19 rows of the square.
    assert film.place.box == (0, 4, 60, 40)
    assert film.place.content == (0, 6, 32, 25)


def test_hounsfield_units_are_kept_whole(tmp_path: Path, write_dicom) -> None:
    stored = np.random.default_rng(0).integers(0, 4096, (64, 48)).astype(np.uint16)
    file = write_dicom(tmp_path / "a.dcm", stored, RescaleIntercept=-1024, RescaleSlope=1)
    film = read_film(file, DataConfig(size=32))
    assert film.step == 1
    np.testing.assert_array_equal(values(film), stored - 1024.0)


def test_a_huge_original_is_reduced_and_that_is_said(tmp_path: Path) -> None:
    pixels = np.zeros((1000, 2 * LONGEST), np.uint8)
    pixels[:, LONGEST:] = 200
    Image.fromarray(pixels).save(tmp_path / "a.png")
    film = read_film(tmp_path / "a.png", DataConfig(size=64))
    assert film.levels.shape == (500, LONGEST)
    assert film.levels[:, LONGEST // 2 + 1 :].min() == 200
    assert film.size == f"{2 * LONGEST} × 1000, reduced to {LONGEST} × 500"
    x0, y0, x1, y1 = film.place.box
    assert (x0, y0, x1 - x0, y1 - y0) == ((LONGEST - 500) // 2, 0, 500, 500)


def test_without_its_file_it_is_what_the_network_saw(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((1, 32, 32))
    film = film_of(partial(read_film, config=DataConfig(size=32)), tmp_path / "gone.png", image)
    np.testing.assert_allclose(values(film), image[0], atol=1e-4)
    assert film.size == "32 × 32, as the network sees it (missing file)"
    colour = np.random.default_rng(0).random((3, 32, 32))
    found = np.asarray(network_film(colour, "x").picture())
    np.testing.assert_allclose(found / 255, np.moveaxis(colour, 0, -1), atol=0.01)


def test_a_slice_of_a_volume_is_a_film(tmp_path: Path) -> None:
    write_phantom_volumes(
        tmp_path, size=32, healthy=1, mixed_normal=0, mixed_abnormal=0, test_normal=1,
        test_abnormal=0,
    )  # fmt: skip
    volume = next(tmp_path.rglob("*.nii.gz"))
    path = Path(f"{volume}#axial-0016")
    config = DataConfig(size=64, square="pad")
    film = read_film(path, config)
    seen = load_image(path, config)[0] / 255
    x0, y0, x1, y1 = film.place.content
    size = (x1 - x0, y1 - y0)
    again = film.picture().crop(film.place.box).resize(size, Image.Resampling.LANCZOS)
    # Windowed before it is resized, so edges differ a little.
    assert np.abs(np.asarray(again) / 255 - seen[y0:y1, x0:x1]).mean() < 0.01
    assert slice_text(path) == "axial slice 16"
    assert slice_text("a.png") == ""
