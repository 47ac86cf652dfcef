import numpy as np
import pytest
from lightning_fabric import Fabric
from PIL import Image

from a2bgan.training.config import load_config
from a2bgan.training.samples import COUNT, write_samples

SIZE = 32


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16)])
def test_a_grid_shows_mixed_then_healthy_as_input_twin_and_difference(tmp_path, channels, dtype):
    settings = (f"data.size={SIZE}", f"data.channels={channels}", "method.translator.width=4")
    of_pixels = "method.discriminator.features=null"
    method = load_config(
        "fast", None, [*settings, of_pixels]
    ).build_method()  # starts as the identity
    method.prepare(Fabric(accelerator="cpu", devices=1))
    top = np.iinfo(dtype).max
    mixed = np.full((2, channels, SIZE, SIZE), top, dtype)
    healthy = np.zeros((COUNT + 3, channels, SIZE, SIZE), dtype)
    write_samples(tmp_path / "grid.png", method, healthy, mixed)
    grid = np.asarray(Image.open(tmp_path / "grid.png")).reshape(COUNT * SIZE, 6 * SIZE, channels)
    columns = [grid[:, i * SIZE : (i + 1) * SIZE] for i in range(6)]
    for column, value in zip(columns, (255, 255, 0, 0, 0, 0), strict=True):
        assert (column[: 2 * SIZE] == value).all()
    assert all((column[2 * SIZE :] == 0).all() for column in columns)  # two mixed images, no more
