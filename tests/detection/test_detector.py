import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from a2bgan import Detector
from a2bgan.errors import InputError

SETTINGS = {
    "method.translator.width": 4,
    "method.translator.blocks": 1,
    "method.discriminator.width": 4,
    "method.discriminator.warmup_steps": 2,
    "train.accelerator": "cpu",
    "train.precision": "32-true",
}


def make(**changes) -> Detector:
    return Detector(**{"size": 32, "steps": 8, "settings": SETTINGS, **changes})


def pictures(n: int, seed: int, shape: tuple[int, ...] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, *shape), dtype=np.uint8)


@pytest.fixture(scope="module")
def fitted() -> Detector:
    return make().fit(healthy=pictures(10, 0), mixed=pictures(8, 1))


def test_follows_the_estimator_contract():
    detector = make(seed=3)
    assert detector.get_params()["seed"] == 3
    copy = clone(detector).set_params(seed=4)
    assert copy.get_params() == {**detector.get_params(), "seed": 4}
    for call in (detector.score, detector.translate, detector.difference):
        with pytest.raises(NotFittedError):
            call(pictures(1, 0))
    with pytest.raises(NotFittedError):
        detector.save("anywhere")


def test_scores_are_the_means_of_the_differences(fitted):
    x = pictures(5, 2)
    scores, maps, twins = fitted.score(x), fitted.difference(x), fitted.translate(x)
    assert scores.shape == (5,)
    assert maps.shape == (5, 32, 32)
    assert twins.shape == (5, 1, 32, 32)
    assert 0 <= twins.min() <= twins.max() <= 1
    assert maps.max() > 0
    np.testing.assert_allclose(scores, maps.mean(axis=(1, 2)), rtol=1e-5)


def test_save_and_load_give_the_same_scores(fitted, tmp_path):
    x = pictures(5, 2)
    fitted.save(tmp_path / "run")
    loaded = Detector.load(tmp_path / "run")
    np.testing.assert_array_equal(loaded.score(x), fitted.score(x))
    loaded.save(tmp_path / "again")
    np.testing.assert_array_equal(Detector.load(tmp_path / "again").score(x), fitted.score(x))
    suffixes = {path.suffix for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert suffixes == {".safetensors", ".json", ".yaml"}  # no images, no pickles
    with pytest.raises(InputError, match="a run is there"):
        fitted.save(tmp_path / "run")


def test_a_loaded_detector_trains_again_to_the_same_weights(fitted, tmp_path):
    fitted.save(tmp_path / "run")
    again = clone(Detector.load(tmp_path / "run")).fit(pictures(10, 0), pictures(8, 1))
    np.testing.assert_array_equal(again.score(pictures(5, 2)), fitted.score(pictures(5, 2)))


def test_every_layout_of_the_same_images_scores_the_same(fitted):
    x = pictures(4, 3)
    expected = fitted.score(x)
    for same in (x[..., None], x[:, None], torch.from_numpy(x), list(x), np.stack([x] * 3, -1)):
        if isinstance(same, list):
            same = np.stack(same)
        np.testing.assert_allclose(fitted.score(same), expected, atol=1e-3)
    np.testing.assert_allclose(fitted.score(x / 255.0), expected, atol=2e-4)


def test_files_and_folders_score_like_their_arrays(fitted, tmp_path):
    x = pictures(3, 4)
    for i, image in enumerate(x):
        Image.fromarray(image).save(tmp_path / f"{i}.png")
    np.testing.assert_array_equal(fitted.score(tmp_path), fitted.score(x))
    files = [tmp_path / "2.png", str(tmp_path / "0.png")]
    np.testing.assert_array_equal(fitted.score(files), fitted.score(x[[2, 0]]))
    (tmp_path / "bad.png").write_text("junk")
    with pytest.raises(InputError, match=r"images: .*bad.png: not a PNG"):
        fitted.score(tmp_path)


@pytest.mark.parametrize(
    ("healthy", "message"),
    [
        (np.zeros((0, 40, 40), np.uint8), "healthy: no images were given"),
        ([], "healthy: no images were given"),
        (pictures(1, 0, (40,)), r"healthy: expected \(N, H, W\).*got \(1, 40\)"),
        (pictures(3, 0, (40, 40, 5)), "healthy: expected"),
        (np.full((3, 40, 40), np.nan), r"healthy: floats must be in \[0, 1\]"),
        (pictures(3, 0).astype(float), r"healthy: floats must be in \[0, 1\]"),
        (pictures(3, 0).astype(np.int64), "healthy: expected uint8, uint16 or floats, got int64"),
        (np.zeros((3, 40, 40), np.uint8), "healthy: constant image"),
        ("nowhere.png", "healthy: nowhere.png: missing file"),
    ],
)
def test_what_cannot_be_used_is_said_in_one_line(healthy, message):
    with pytest.raises(InputError, match=message) as caught:
        make().fit(healthy=healthy, mixed=pictures(3, 1))
    assert "\n" not in str(caught.value)


def test_importing_the_package_leaves_pytorch_alone():
    code = "import sys, a2bgan; assert 'torch' not in sys.modules; a2bgan.Detector"
    subprocess.run([sys.executable, "-c", code], check=True)
