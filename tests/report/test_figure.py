from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.errors import InputError
from a2bgan.report.figure import FigureCase, write_figure


def case(*, lesion: bool, masked: bool = True, channels: int = 1) -> FigureCase:
    """A grey 32 x 32 image, with a bright square that its twin lacks if it has a lesion."""
    twin = np.full((channels, 32, 32), 0.4)
    mask = np.zeros((32, 32), dtype=bool)
    mask[10:20, 10:20] = lesion
    image = twin + 0.3 * mask
    return FigureCase(image, twin, 0.3 * mask, mask if masked else None, 0.3 * mask.mean())


def draw(
    folder: Path,
    abnormal: Sequence[FigureCase] = (),
    normal: Sequence[FigureCase] = (),
    unlabelled: Sequence[FigureCase] = (),
) -> np.ndarray:
    path = folder / "figure.png"
    write_figure(path, abnormal, normal, unlabelled=unlabelled, vmax=0.3)
    return np.asarray(Image.open(path).convert("RGB")).astype(int)


def panel_colour(pixels: np.ndarray) -> np.ndarray:
    """Where the top colour of the difference scale, pale yellow, is."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return np.asarray((red > 220) & (green > 240) & (blue < 190))


def outline_colour(pixels: np.ndarray) -> np.ndarray:
    red, green, blue = np.moveaxis(pixels, -1, 0)
    return np.asarray((red < 120) & (green > 190) & (blue > 210))


def panel_grey(pixels: np.ndarray) -> np.ndarray:
    """Where the grey of the images' healthy parts is, not that of the letters' edges."""
    is_grey = (np.abs(pixels - 102) <= 1).all(axis=-1)
    return np.asarray(is_grey & np.roll(is_grey, 1, axis=0))


def test_abnormal_left_and_normal_right_with_the_bar_beside_them(tmp_path: Path) -> None:
    pixels = draw(tmp_path, [case(lesion=True)] * 3, [case(lesion=False)] * 2)
    height, width, _ = pixels.shape
    assert 1190 <= width <= 1210
    assert 600 < height < 800
    yellow = panel_colour(pixels)
    assert yellow[:, : width // 2].sum() > 3 * 2000  # three painted lesions
    assert yellow[:, width // 2 : 1080].sum() == 0  # normal images have none
    assert yellow[:, 1080:].sum() > 10  # top of the colour bar
    grey = panel_grey(pixels)
    assert grey[: height // 2, 560:1080].any()
    assert not grey[-170:, 560:1080].any()  # two normal rows only


def test_outlines_follow_the_masks_and_are_explained(tmp_path: Path) -> None:
    with_masks = draw(tmp_path, [case(lesion=True)], [case(lesion=False)])
    without = draw(tmp_path, [case(lesion=True, masked=False)], [case(lesion=False, masked=False)])
    outline = outline_colour(with_masks)
    assert outline[:-50, 360:540].sum() > 100  # on the difference panel
    assert outline[:-50, :360].sum() == 0  # not on input and twin
    assert outline[-50:].sum() > 20  # its line in the legend
    assert outline_colour(without).sum() == 0
    assert without.shape[0] < with_masks.shape[0]  # nor room for a legend


def test_outline_at_the_border_does_not_shrink_the_panel(tmp_path: Path) -> None:
    masked = case(lesion=True)
    corner = np.zeros((32, 32), dtype=bool)
    corner[:4, :4] = True
    at_border = FigureCase(masked.image, masked.twin, masked.anomaly_map, corner, 0.1)
    plain = draw(tmp_path, [case(lesion=True, masked=False)])
    bordered = draw(tmp_path, [at_border])[: len(plain) - 20]
    assert np.flatnonzero(panel_grey(plain).any(axis=0)).max() == pytest.approx(
        np.flatnonzero(panel_grey(bordered).any(axis=0)).max(), abs=1
    )


def test_one_case_makes_a_narrow_figure(tmp_path: Path) -> None:
    pixels = draw(tmp_path, normal=[case(lesion=False)])
    assert 600 < pixels.shape[1] < 700


def test_one_class_fills_both_halves(tmp_path: Path) -> None:
    pixels = draw(tmp_path, unlabelled=[case(lesion=True, masked=False)] * 3)
    assert 1190 <= pixels.shape[1] <= 1210
    yellow = panel_colour(pixels)
    assert yellow[:, :600].sum() == pytest.approx(2 * yellow[:, 600:1080].sum(), rel=0.1)


def titles(
    folder: Path,
    abnormal: Sequence[FigureCase] = (),
    normal: Sequence[FigureCase] = (),
    unlabelled: Sequence[FigureCase] = (),
) -> list[str]:
    """Block titles of the figure, read from its SVG, where text stands in comments."""
    path = folder / "figure.svg"
    write_figure(path, abnormal, normal, unlabelled=unlabelled)
    text = path.read_text()
    return [
        title
        for title in ("Abnormal images", "Normal images", "Unlabelled images")
        if f"<!-- {title} -->" in text
    ]


def test_blocks_are_titled_by_what_they_hold(tmp_path: Path) -> None:
    cases = [case(lesion=False)]
    assert titles(tmp_path, abnormal=cases, normal=cases) == [
        "Abnormal images",
        "Normal images",
    ]
    assert titles(tmp_path, normal=cases) == ["Normal images"]
    assert titles(tmp_path, unlabelled=cases) == ["Unlabelled images"]


def test_score_under_each_case(tmp_path: Path) -> None:
    path = tmp_path / "figure.svg"
    write_figure(path, [case(lesion=True)], [case(lesion=False)])
    text = path.read_text()
    assert text.count(f"score {0.3 * 100 / 1024:.4f}") == 1
    assert text.count("score 0.0000") == 1
    assert text.count("<!-- healthy twin -->") == 2


def test_colour_images(tmp_path: Path) -> None:
    grey = draw(tmp_path, [case(lesion=True)])
    colour = draw(tmp_path, [case(lesion=True, channels=3)])
    np.testing.assert_array_equal(grey, colour)


def test_no_case_at_all_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs at least one"):
        write_figure(tmp_path / "figure.png", [], [])
    assert not (tmp_path / "figure.png").exists()


def test_a_contour_is_called_no_edge_of_a_lesion(tmp_path: Path) -> None:
    lesion = case(lesion=True)
    for found, said in ((lesion.mask, True), (None, False)):
        write_figure(tmp_path / "f.svg", [replace(lesion, found=found)], [])
        text = (tmp_path / "f.svg").read_text()
        assert text.count("For research only") == 1
        assert (text.count("not a lesion's edge") == 1) == said


def test_what_was_found_is_outlined_on_the_input_and_explained(tmp_path: Path) -> None:
    def amber(pixels: np.ndarray) -> np.ndarray:
        red, green, blue = np.moveaxis(pixels, -1, 0)
        return np.asarray((red > 220) & (np.abs(green - 205) < 15) & (blue < 60))

    lesion = case(lesion=True)
    found = replace(lesion, found=np.roll(lesion.mask, 3, axis=0))
    pixels = draw(tmp_path, [found], [case(lesion=False)])
    assert amber(pixels)[:-50, :180].sum() > 100
    assert amber(pixels)[-50:].sum() > 20  # its line in the legend
    assert outline_colour(pixels)[-50:].sum() > 20  # beside that of the annotation
    nothing = draw(tmp_path, [replace(lesion, found=np.zeros((32, 32), dtype=bool))])
    assert not amber(nothing)[:, :180].any()
