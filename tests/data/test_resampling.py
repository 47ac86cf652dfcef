import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from a2bgan.data.resampling import resize


def texture(height: int, width: int) -> np.ndarray:
    smooth = gaussian_filter(np.random.default_rng(0).random((height, width)), 1.5)
    values: np.ndarray = ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)
    return values


@pytest.mark.parametrize("shape", [(64, 64), (37, 90), (300, 700), (1, 5), (200, 601)])
def test_floats_become_what_pillow_makes_of_them(shape: tuple[int, int]) -> None:
    values = texture(200, 601)
    expected = Image.fromarray(values).resize(shape[::-1], Image.Resampling.LANCZOS)
    np.testing.assert_allclose(resize(values, shape), np.asarray(expected), atol=2e-6)


@pytest.mark.parametrize("shape", [(64, 64), (250, 90)])
def test_8_bits_become_what_pillow_makes_of_them_within_a_level(shape: tuple[int, int]) -> None:
    grey = (255 * texture(200, 601)).astype(np.uint8)
    colour = np.stack([grey, grey[::-1], 255 - grey], axis=-1)
    for values in (grey, colour):
        expected = Image.fromarray(values).resize(shape[::-1], Image.Resampling.LANCZOS)
        levels = np.rint(resize(values, shape)).clip(0, 255)
        assert np.abs(levels - np.asarray(expected)).max() <= 1


def test_a_flat_image_stays_flat() -> None:
    np.testing.assert_allclose(resize(np.full((99, 70), 7, np.uint16), (33, 64)), 7, rtol=1e-6)


def test_parts_are_prepared_as_the_whole_is() -> None:
    values = (1000 * texture(40, 1300)).astype(np.uint16)
    prepared = resize(values, (20, 50), lambda part: part.astype(np.float32) / 500 - 1)
    whole = resize(values.astype(np.float32) / 500 - 1, (20, 50))
    np.testing.assert_allclose(prepared, whole, atol=1e-6)
