import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.errors import InputError
from a2bgan.report.pictures import MAP_NAME, colour_bar, draw_triptych, map_unit, paint_map


def blob(size: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey image with a bright square, its twin without it, and their difference."""
    twin = np.full((1, size, size), 0.4)
    image = twin.copy()
    image[:, size // 4 : size // 2, size // 4 : size // 2] += 0.3
    return image, twin, np.abs(image - twin)[0]


def colourfulness(pixels: np.ndarray) -> np.ndarray:
    return np.asarray(np.ptp(pixels, axis=-1))


def test_only_what_differs_is_coloured() -> None:
    image, _, difference = blob()
    painted = paint_map(image, difference)
    assert painted.shape == (64, 64, 3)
    assert painted.min() >= 0
    assert painted.max() <= 1
    np.testing.assert_allclose(painted[difference == 0], 0.4)
    assert (colourfulness(painted)[difference > 0] > 0.2).all()


def test_small_differences_fade_out() -> None:
    ramp = np.linspace(0, 0.15, 50)[None]
    colour = colourfulness(paint_map(np.full((1, 1, 50), 0.5), ramp, vmax=0.3))
    assert colour[0, 0] == 0
    assert (np.diff(colour[0]) > 0).all()


def test_the_scale_does_not_depend_on_the_picture() -> None:
    image = np.full((1, 1, 3), 0.5)
    alone = paint_map(image[:, :, :1], np.array([[0.1]]), vmax=0.3)
    beside_more = paint_map(image, np.array([[0.1, 0.3, 0.9]]), vmax=0.3)
    np.testing.assert_array_equal(alone[0, 0], beside_more[0, 0])
    np.testing.assert_array_equal(beside_more[0, 1], beside_more[0, 2])  # both at the top


def test_colour_bar_shows_the_colours_of_the_pictures() -> None:
    bar = colour_bar(0.3)
    for row in (0, 100, 255):
        difference = np.array([[0.3 * (1 - row / 255)]])
        painted = paint_map(np.full((1, 1, 1), 0.5), difference, 0.3)
        np.testing.assert_allclose(bar[row, 0], painted[0, 0], atol=1e-9)


@pytest.mark.parametrize("vmax", [0, -0.1, float("inf"), float("nan")])
def test_a_scale_out_of_range_is_refused(vmax: float) -> None:
    image, _, difference = blob()
    with pytest.raises(InputError, match="must be above 0"):
        paint_map(image, difference, vmax)


@pytest.mark.parametrize("channels", [1, 3])
def test_triptych_holds_the_three_panels_and_the_bar(tmp_path: Path, channels: int) -> None:
    image, twin, difference = blob()
    image, twin = np.repeat(image, channels, 0), np.repeat(twin, channels, 0)
    path = tmp_path / "picture.png"
    draw_triptych(image, twin, difference, score=0.0123, vmax=0.3).save(path)

    picture = np.asarray(Image.open(path))
    height, width, _ = picture.shape
    assert 320 < height < 480
    assert 3 * 320 < width < 1200
    assert path.stat().st_size > 2000
    middle = picture[44 + 120]  # a row through the square, 5 picture pixels to an image pixel
    lefts = [16 + panel * (320 + 16) for panel in range(3)]
    inside, outside = 120, 300
    assert middle[lefts[0] + inside].tolist() == [round(0.7 * 255)] * 3
    assert middle[lefts[1] + inside].tolist() == [round(0.4 * 255)] * 3
    brightest = np.round(paint_map(image, difference)[20, 20] * 255)
    assert middle[lefts[2] + inside].tolist() == brightest.tolist()
    for left in lefts:
        assert middle[left + outside].tolist() == [round(0.4 * 255)] * 3
    right_of_panels = picture[44 : 44 + 320, lefts[2] + 320 :]
    assert (colourfulness(right_of_panels.astype(int)) > 60).sum() > 1000


def heading(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("L"))[:44]


def test_heading_shows_the_score_and_a_title_if_given(tmp_path: Path) -> None:
    image, twin, difference = blob()
    paths = [tmp_path / f"{name}.png" for name in ("secret_patient", "b", "c", "d")]
    for path, score, title in zip(paths, (0.1, 0.1, 0.2, 0.1), ("", "", "", "case 7"), strict=True):
        draw_triptych(image, twin, difference, score=score, title=title).save(path)
    named, same, other_score, titled = (heading(path) for path in paths)
    assert (named < 128).any()
    assert np.array_equal(named, same)  # the file's name is not in it
    assert not np.array_equal(named, other_score)
    assert np.ptp(np.flatnonzero((titled < 128).any(axis=0))) > np.ptp(
        np.flatnonzero((named < 128).any(axis=0))
    )


def test_large_and_oblong_images_keep_their_pixels(tmp_path: Path) -> None:
    image = np.random.default_rng(0).random((1, 400, 300))
    draw_triptych(image, image, np.zeros((400, 300)), score=0.0).save(tmp_path / "a.png")
    picture = np.asarray(Image.open(tmp_path / "a.png"))
    panel = picture[44 : 44 + 400, 16 : 16 + 300, 0]
    np.testing.assert_array_equal(panel, np.round(image[0] * 255))


def test_pictures_are_quick(tmp_path: Path) -> None:
    image, twin, difference = blob(128)
    draw_triptych(image, twin, difference, score=0.1).save(tmp_path / "first.png")
    begin = time.process_time()
    for _ in range(5):
        draw_triptych(image, twin, difference, score=0.1).save(tmp_path / "a.png")
    assert (time.process_time() - begin) / 5 < 0.15


def test_a_map_is_not_called_a_plain_difference() -> None:
    # It may be smoothed, its gaps closed, or weighed.
    assert MAP_NAME == "Anomaly map"
    assert map_unit(True) == "change that counts, share of range"


def test_a_thin_line_goes_around_regions_on_the_input_alone(tmp_path: Path) -> None:
    image, twin, difference = blob()
    mask = np.zeros(difference.shape, dtype=bool)
    mask[0:10, 30:40] = True  # at the border, where the line is closed too
    pictures = []
    for name, regions in (("a", None), ("b", mask)):
        draw_triptych(image, twin, difference, regions, score=0.1).save(tmp_path / f"{name}.png")
        pictures.append(np.asarray(Image.open(tmp_path / f"{name}.png")).astype(int))
    changed = (pictures[0] != pictures[1]).any(axis=-1)
    rows, columns = np.nonzero(changed)
    # 5 picture pixels to an image pixel; the line lies on the edges.
    assert (columns.min(), columns.max()) == pytest.approx((16 + 150, 16 + 200), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((44, 44 + 50), abs=2)
    assert not changed[44 + 4 : 44 + 46, 16 + 154 : 16 + 196].any()
    assert changed.sum() < 4 * 50 * 3
    assert (pictures[1][changed] == (255, 212, 0)).all()
