import time
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image
from skimage.color import rgb2lab

from a2bgan.data.config import DataConfig
from a2bgan.errors import InputError
from a2bgan.report.film import network_film, read_film
from a2bgan.report.pictures import (
    MAP_NAME,
    colour_bar,
    draw_triptych,
    map_colours,
    map_layer,
    map_unit,
    paint_map,
    region_lines,
)


def blob(size: int = 64) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grey image with a bright square, its twin without it, and their difference."""
    twin = np.full((1, size, size), 0.4)
    image = twin.copy()
    image[:, size // 4 : size // 2, size // 4 : size // 2] += 0.3
    return image, twin, np.abs(image - twin)[0]


def drawn(
    image: np.ndarray,
    twin: np.ndarray,
    difference: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    heading: tuple[str, ...] = ("a.png", "score 0.1"),
) -> Image.Image:
    """The picture of an image whose file is no longer there."""
    film = network_film(image, "missing file")
    return draw_triptych(film, twin, difference, mask, heading=heading, vmax=0.3)


TOP = 16 + 2 * 28
"""Rows of a heading of two lines."""


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


def test_a_higher_value_has_a_lighter_colour_near_that_of_inferno() -> None:
    level = np.linspace(0, 1, 101)
    colours = map_colours(level)
    assert (np.diff(rgb2lab(colours)[:, 0]) > 0).all()
    inferno = matplotlib.colormaps["inferno"](0.25 + 0.75 * level)[:, :3]
    np.testing.assert_allclose(colours, inferno, atol=0.05)


@pytest.mark.parametrize("vmax", [0, -0.1, float("inf"), float("nan")])
def test_a_scale_out_of_range_is_refused(vmax: float) -> None:
    image, _, difference = blob()
    with pytest.raises(InputError, match="must be above 0"):
        paint_map(image, difference, vmax)


@pytest.mark.parametrize("channels", [1, 3])
def test_triptych_holds_the_three_panels_and_the_bar(channels: int) -> None:
    image, twin, difference = blob()
    image, twin = np.repeat(image, channels, 0), np.repeat(twin, channels, 0)
    picture = np.asarray(drawn(image, twin, difference))
    height, width, _ = picture.shape
    assert 320 < height < 480
    assert 3 * 320 < width < 1400
    middle = picture[TOP + 120].astype(int)  # through the square, 5 picture pixels to a pixel
    grey = np.flatnonzero((np.abs(middle - round(0.4 * 255)) <= 1).all(axis=-1))
    lefts = grey[np.diff(grey, prepend=-99) > 15]  # each panel begins with healthy grey
    lefts = [x for x in lefts.tolist() if middle[x - 1].min() > 200]
    assert len(lefts) == 3
    inside, outside = 120, 300
    assert middle[lefts[0] + inside].tolist() == [round(0.7 * 255)] * 3
    assert middle[lefts[1] + inside].tolist() == [round(0.4 * 255)] * 3
    brightest = np.round(paint_map(image, difference)[20, 20] * 255)
    np.testing.assert_allclose(middle[lefts[2] + inside], brightest, atol=3)
    for left in lefts:
        assert middle[left + outside].tolist() == [round(0.4 * 255)] * 3
    right_of_panels = picture[TOP : TOP + 320, lefts[2] + 320 :]
    assert (colourfulness(right_of_panels.astype(int)) > 60).sum() > 1000


def test_the_layer_of_a_map_has_the_colours_of_the_painted_one() -> None:
    ramp = np.linspace(0, 0.4, 64)[None]
    grey = np.full((1, 1, 64), 0.5)
    under = Image.fromarray(np.full((1, 64, 3), 128, np.uint8))
    layer = map_layer(ramp, 0.3)
    under.paste(layer, mask=layer)
    np.testing.assert_allclose(np.asarray(under) / 255, paint_map(grey, ramp, 0.3), atol=0.02)
    with pytest.raises(InputError, match="must be above 0"):
        map_layer(ramp, 0)


def heading(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture.convert("L"))[:TOP]


def test_heading_has_its_lines_and_long_ones_are_whole() -> None:
    image, twin, difference = blob()
    one = heading(drawn(image, twin, difference))
    other = heading(drawn(image, twin, difference, heading=("a.png", "score 0.2")))
    assert (one < 128).any()
    assert np.array_equal(one[:44], other[:44])
    assert not np.array_equal(one[44:], other[44:])
    long = heading(drawn(image, twin, difference, heading=("x" * 180 + ".png", "score 0.1")))
    dark = np.flatnonzero((long < 128).any(axis=0))
    assert long.shape[1] > 1500
    assert dark.min() > 10 and dark.max() < long.shape[1] - 10


def test_a_note_stands_below_and_moves_nothing() -> None:
    image, twin, difference = blob()
    film = network_film(image, "")
    plain, noted = (
        np.asarray(draw_triptych(film, twin, difference, heading=["a"], note=note, vmax=0.3))
        for note in ("", "For research only.")
    )
    assert np.array_equal(noted[: len(plain)], plain)
    assert (noted[len(plain) :] < 128).any()


def test_large_and_oblong_images_keep_their_pixels() -> None:
    image = np.random.default_rng(0).random((1, 400, 300))
    picture = np.asarray(drawn(image, image, np.zeros((400, 300))))
    panel = picture[TOP : TOP + 400, 16 : 16 + 300, 0]
    np.testing.assert_allclose(panel, np.round(image[0] * 255), atol=1)


def test_a_file_is_drawn_with_its_own_pixels_and_the_map_in_its_place(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    config = DataConfig(size=64, window="full")
    film = read_film(tmp_path / "a.png", config)
    anomaly_map = np.zeros((64, 64))
    anomaly_map[:32, :32] = 0.3  # the upper left quarter of the central square
    picture = np.asarray(
        draw_triptych(film, None, anomaly_map, anomaly_map > 0.1, heading=["a", "b"], vmax=0.3)
    )
    unit = 600 / 512
    top, left = round(unit * TOP), round(unit * 16)
    panel = picture[top : top + 600, left : left + 800].astype(int)
    same = (panel == pixels[..., None]).all(axis=-1)
    changed = np.argwhere(~same)
    # Nothing but the line around the region differs.
    assert (colourfulness(panel[~same]) > 200).all()
    assert changed.min(axis=0) == pytest.approx((0, 100), abs=3)
    assert changed.max(axis=0) == pytest.approx((300, 400), abs=6)
    assert (~same).sum() < 4 * 310 * 4


def test_lines_around_regions_are_smooth_and_in_place_on_a_large_film() -> None:
    rows, columns = np.mgrid[:64, :64]
    mask = np.hypot(rows - 31.5, columns - 31.5) < 16
    config_place = ((1000, 0, 4000, 3000), (0, 0, 64, 64))
    (line,) = region_lines(mask, config_place)
    radius = np.hypot(*(line - (2500, 1500)).T) / 3000 * 64
    assert radius == pytest.approx(np.full(len(line), 16), abs=0.7)
    assert np.abs(np.diff(line, axis=0)).max() < 6  # no stairs of 47 pixels


def test_pictures_are_quick() -> None:
    image, twin, difference = blob(128)
    drawn(image, twin, difference)
    begin = time.process_time()
    for _ in range(5):
        drawn(image, twin, difference)
    assert (time.process_time() - begin) / 5 < 0.15


def test_a_map_is_not_called_a_plain_difference() -> None:
    # It may be smoothed, its gaps closed, or weighed.
    assert MAP_NAME == "Anomaly map"
    assert map_unit(True) == "change that counts, share of range"


def test_a_thin_line_goes_around_regions_on_the_input_alone() -> None:
    image, twin, difference = blob()
    mask = np.zeros(difference.shape, dtype=bool)
    mask[0:10, 30:40] = True  # at the border, where the line is closed too
    pictures = [
        np.asarray(drawn(image, twin, difference, regions)).astype(int) for regions in (None, mask)
    ]
    changed = (pictures[0] != pictures[1]).any(axis=-1)
    rows, columns = np.nonzero(changed)
    # 5 picture pixels to an image pixel; the line lies on the edges.
    assert (columns.min(), columns.max()) == pytest.approx((16 + 150, 16 + 200), abs=2)
    assert (rows.min(), rows.max()) == pytest.approx((TOP, TOP + 50), abs=2)
    assert not changed[TOP + 4 : TOP + 46, 16 + 154 : 16 + 196].any()
    assert changed.sum() < 4 * 50 * 3
    assert (pictures[1][changed] == (255, 212, 0)).all()
