"""What `data.size: auto` becomes."""

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.data.image_size import SIDES, settle, with_size_of_shapes
from a2bgan.detection.given_images import list_images, settled_by

AUTO = DataConfig.model_validate({"size": "auto"})


def save(path, height, width):
    noise = np.random.default_rng(0).integers(0, 255, (height, width), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    return path


@pytest.mark.parametrize(("side", "size"), [(28, 128), (128, 128), (129, 256), (1024, 256)])
def test_what_images_hold_is_kept_and_no_more(side, size):
    config = with_size_of_shapes(AUTO, [(side, side + 5, 3)])
    assert (config.size, config.size_by_images) == (size, False)


def test_the_usual_file_decides(tmp_path):
    paths = [save(tmp_path / f"{k}.png", *shape) for k, shape in enumerate([(40, 190)] * 2)]
    paths += [save(tmp_path / "large.png", 300, 300), tmp_path / "missing.png"]
    assert settle(AUTO, paths).size == 128
    padded = AUTO.model_copy(update={"square": "pad"})
    assert settle(padded, paths).size == 256
    assert settle(AUTO, paths[3:]).size == SIDES[-1]
    assert settle(AUTO, paths[3:]).size_by_images is False


def test_a_size_that_was_given_stays(tmp_path):
    config = DataConfig(size=32)
    assert settle(config, [save(tmp_path / "a.png", 200, 200)]).size == 32


@pytest.mark.parametrize("shape", [(2, 100, 120), (2, 1, 100, 120), (2, 100, 120, 3)])
def test_images_that_are_arrays(shape):
    batch = np.zeros(shape, dtype=np.uint8)
    for images in (batch, list(batch)):
        assert settled_by(AUTO, list_images(images, "healthy")).size == 128


def test_it_is_written_as_what_it_became():
    assert AUTO.model_dump()["size"] == "auto"
    settled = with_size_of_shapes(AUTO, [(64, 64)])
    assert DataConfig.model_validate(settled.model_dump()) == settled
