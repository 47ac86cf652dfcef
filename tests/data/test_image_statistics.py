import numpy as np
import pytest

from a2bgan.data.image_statistics import (
    PIXEL_STATISTICS,
    file_format,
    file_statistics,
    pixel_statistics,
)


def statistics(image: np.ndarray) -> dict[str, float]:
    return dict(zip(PIXEL_STATISTICS, pixel_statistics(image).tolist(), strict=True))


@pytest.fixture
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(20, 200, (60, 40)).astype(np.uint8)


def test_each_against_its_definition_pixel_by_pixel(image):
    image[:3, :5] = 0
    image[30, 10:20] = 255
    values = image / 255
    found = statistics(image)
    assert found["mean brightness"] == pytest.approx(values.mean(), abs=1e-6)
    assert found["contrast (sd)"] == pytest.approx(values.std(), abs=1e-6)
    wide = np.pad(values, 1, mode="symmetric")
    edges = wide[:-2, 1:-1] + wide[2:, 1:-1] + wide[1:-1, :-2] + wide[1:-1, 2:] - 4 * values
    assert found["sharpness"] == pytest.approx(edges.std() / values.std(), abs=1e-5)
    frame = [values[y, x] for y, x in np.ndindex(60, 40) if y in (0, 1, 2, 57, 58, 59)
             or x in (0, 1, 38, 39)]  # fmt: skip
    assert found["border brightness"] == pytest.approx(np.mean(frame), abs=1e-6)
    assert found["black share"] == pytest.approx((image <= 2).mean(), abs=1e-6)
    assert found["white share"] == pytest.approx((image >= 253).mean(), abs=1e-6)


def test_marks_in_corners_are_told_from_marks_elsewhere(image):
    marked, elsewhere = image.copy(), image.copy()
    marked[2:8, 2:8:2] = 255
    elsewhere[30:36, 20:26:2] = 255
    plain, there, here = (statistics(i) for i in (image, elsewhere, marked))
    for name in ("marks in corners", "sharpness of corners"):
        assert here[name] > plain[name] > there[name]


def test_corners_are_judged_whatever_the_exposure(image):
    image[50:58, 30:38] = 255
    darker = (image // 2 * 2).astype(np.uint16) * 64  # the same picture, of another depth
    image = image // 2 * 2
    for name in ("marks in corners", "sharpness of corners", "sharpness", "white share"):
        assert statistics(image)[name] == pytest.approx(statistics(darker)[name], abs=1e-6)


def test_blackened_corners_tell_nothing(image):
    for rows in (slice(12), slice(48, None)):
        for columns in (slice(8), slice(32, None)):
            image[rows, columns] = 0
    assert statistics(image)["sharpness of corners"] == 0
    assert statistics(image)["marks in corners"] == 0


def test_the_same_pixels_in_another_order_have_the_same_mean_to_the_last_bit(image):
    shuffled = np.random.default_rng(1).permutation(image.ravel()).reshape(image.shape)
    for name in ("mean brightness", "contrast (sd)", "black share"):
        assert statistics(image)[name] == statistics(shuffled)[name]


@pytest.mark.parametrize("scale", [1e-30, 1, 1e36])
def test_floats_of_any_size_and_colour_are_measured(image, scale):
    colour = np.repeat(image[:, :, None], 3, axis=2)
    assert statistics(colour)["mean brightness"] == pytest.approx(image.mean() / 255, abs=1e-6)
    assert np.isfinite(pixel_statistics((image * scale).astype(np.float32))).all()


def test_what_a_file_gives_away(image, tmp_path):
    path = tmp_path / "a.jpeg"
    path.write_bytes(b"x" * 1200)
    assert file_statistics(path, image).tolist() == pytest.approx([40 / 60, 2400, 0.5])
    assert file_format(path) == ".jpg"
