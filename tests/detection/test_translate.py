import numpy as np
import pytest
from PIL import Image

from a2bgan.data.formats.originals import Original, read_original, write_original
from a2bgan.data.formats.picture import Picture, ReadOptions
from a2bgan.detection.inputs import Input
from a2bgan.detection.pick import Pick
from a2bgan.detection.trained_model import Trained
from a2bgan.detection.translate import add_change, translate
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Finding


class Brightened:
    """A method whose twins are brighter by a tenth of the range, or as they are."""

    facts = load_config("a2bgan").facts
    device = "cpu"

    def __init__(self, by):
        self.by = by

    def find(self, x, version=None):
        return Finding(None, x + 2 * self.by, (0 * x[:, 0]) + 1)


def trained(by, *settings):
    return Trained(
        Brightened(by), load_config("fast", None, list(settings)), Pick("", "raw", "mean", "last")
    )


def files(folder):
    rng = np.random.default_rng(0)

    def picture(*shape):
        return rng.integers(50, 180, shape, dtype=np.uint8)

    made = {
        "tall.png": Image.fromarray(picture(90, 40, 3)),
        "wide.jpg": Image.fromarray(np.full((40, 120), 90, np.uint8) + picture(1, 120) // 9),
        "alpha.png": Image.fromarray(picture(50, 50, 4)),
        "grey-alpha.png": Image.fromarray(picture(50, 50, 2)),
        "palette.png": Image.fromarray(picture(50, 64, 3)).quantize(16),
        "deep.png": Image.fromarray(picture(50, 64).astype(np.uint16) * 200),
        "float.tif": Image.fromarray(picture(50, 64).astype(np.float32) - 70),
    }
    for name, image in made.items():
        image.save(folder / name)
    return [Input(name, folder / name, "") for name in made]


def test_nothing_changed_is_every_digit_kept(tmp_path):
    for item in files(tmp_path):
        (found,) = translate(trained(0.0), [item])
        original = read_original(item.path, ReadOptions(10**6))
        np.testing.assert_array_equal(found.colours, original.colours)
        target = write_original(
            tmp_path / f"{item.path.stem}-out", item.path, found.colours, found.alpha
        )
        assert target.suffix == item.path.suffix
        again = read_original(target, ReadOptions(10**6))
        np.testing.assert_allclose(
            again.colours.astype(float), original.colours, atol=3 if "jpg" in item.name else 0
        )
        if original.alpha is not None:
            np.testing.assert_array_equal(again.alpha, original.alpha)


@pytest.mark.parametrize("square", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_change_reaches_the_file_in_its_own_units(tmp_path, square, channels):
    run = trained(0.1, f"data.square={square}", f"data.channels={channels}")
    for item in files(tmp_path):
        (found,) = translate(run, [item])
        original = read_original(item.path, ReadOptions(10**6))
        changed = found.colours.astype(float) - original.colours
        height, width = changed.shape[:2]
        side = min(height, width) // 2 - 2
        middle = changed[height // 2 - side : height // 2 + side,
                         width // 2 - side : width // 2 + side]  # fmt: skip
        if original.colours.dtype == np.uint8:
            np.testing.assert_allclose(middle, 25.5, atol=0.51)
        else:
            low, high = np.percentile(original.colours, (0.5, 99.5))
            np.testing.assert_allclose(middle, 0.1 * (high - low), rtol=0.1)
        assert found.mask.shape == found.change.shape == (height, width)
        if square == "crop" and height > width:
            assert not changed[0].any() and not found.mask[0].any()


def test_integers_stay_within_their_type():
    values = np.array([[0, 250], [5, 100]], dtype=np.uint8)
    found = add_change(Original(Picture(values), values, None), np.full((1, 2, 2), 10.0))
    assert found.tolist() == [[10, 255], [15, 110]]


def test_what_cannot_be_done_is_said(tmp_path):
    (found,) = translate(trained(0.1), [Input("none.png", tmp_path / "none.png", "")])
    assert (found.colours, found.error) == (None, "missing file")
    with pytest.raises(InputError, match=r"data.equalize cannot be undone"):
        translate(trained(0.1, "data.equalize=true"), [])
