"""Features from the cache against the backbone itself."""

import os
import shutil
import stat
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from a2bgan.data.batches import to_unit_range
from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone
from a2bgan.models.inference import has_native_bfloat16
from a2bgan.training import feature_cache
from a2bgan.training.feature_cache import cached_features

CPU = torch.device("cpu")


class Counting(Backbone):
    """Notes how many images are in each batch that it is shown; may be interrupted."""

    interrupted_after = 99

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.batches = []

    @property
    def seen(self):
        return sum(self.batches)

    def forward(self, x):
        if len(self.batches) == self.interrupted_after:
            raise KeyboardInterrupt
        self.batches.append(len(x))
        return super().forward(x)


def make(seed: int = 0, size: int = 64) -> Counting:
    torch.manual_seed(seed)
    return Counting("resnet10t", (4, 8), size)


def pictures(n: int = 7, top: int = 256, dtype: type = np.uint8) -> np.ndarray:
    return np.random.default_rng(n).integers(0, top, (n, 1, 32, 32)).astype(dtype)


@pytest.fixture(autouse=True)
def _small_batches(monkeypatch):
    monkeypatch.setattr(feature_cache, "PIXELS_AT_A_TIME", {"cpu": 3 * 64 * 64})


def expected(images: np.ndarray, backbone: Backbone) -> list[np.ndarray]:
    with torch.no_grad():
        return [f.numpy() for f in backbone(to_unit_range(images))]


def agree(found: list[np.ndarray], direct: list[np.ndarray]) -> None:
    tolerance = 0.05 if has_native_bfloat16("cpu") else 2e-3
    for features, maps in zip(found, direct, strict=True):
        assert features.shape == maps.shape
        np.testing.assert_allclose(features, maps, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("top", "dtype"), [(256, np.uint8), (65536, np.uint16)])
def test_they_are_the_backbones_and_computed_once(tmp_path, top, dtype):
    images, backbone = pictures(7, top, dtype), make()
    found = cached_features(images, backbone, device=CPU, cache_dir=tmp_path)
    assert backbone.batches == [3, 3, 1]
    agree(found, expected(images, make()))
    for features in found:
        assert isinstance(features, np.memmap)
        assert features.dtype == np.float16
        assert not features.flags.writeable
    again = cached_features(images, backbone, device=CPU, cache_dir=tmp_path)
    assert backbone.seen == 7
    assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))


def test_whatever_decides_features_makes_another_entry(tmp_path):
    images = pictures()
    changed = images.copy()
    changed[6, 0, 31, 31] ^= 1
    three = np.repeat(images, 3, 1)
    for number, (values, backbone) in enumerate(
        [
            (images, make()), (changed, make()), (three, make()), (images, make(seed=1)),
            (images, make(size=96)), (images, Counting("resnet10t", (8, 4), 64)),
        ],
        start=1,
    ):  # fmt: skip
        cached_features(values, backbone, device=CPU, cache_dir=tmp_path)
        assert backbone.seen == len(values)
        assert len(os.listdir(tmp_path / "features")) == number
    # Where an array lies in memory makes none.
    backbone = make()
    cached_features(np.asfortranarray(images), backbone, device=CPU, cache_dir=tmp_path)
    assert backbone.seen == 0


def test_a_damaged_entry_is_made_anew(tmp_path):
    images, backbone = pictures(), make()
    before = [
        np.array(f) for f in cached_features(images, backbone, device=CPU, cache_dir=tmp_path)
    ]
    (entry,) = (tmp_path / "features").iterdir()
    file = entry / "features-1.npy"
    for harm in (
        lambda: file.write_bytes(file.read_bytes()[:-1] + b"x"),
        lambda: os.truncate(file, 200),
        file.unlink,
        (entry / "entry.json").unlink,
        lambda: (entry / "entry.json").write_text("[]"),
    ):
        harm()
        backbone.batches.clear()
        after = cached_features(images, backbone, device=CPU, cache_dir=tmp_path)
        assert backbone.seen == 7
        assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
        assert [path.name for path in (tmp_path / "features").iterdir()] == [entry.name]


def test_no_images_have_no_features(tmp_path):
    found = cached_features(pictures(0), make(), device=CPU, cache_dir=tmp_path)
    assert [f.shape for f in found] == [(0, 64, 16, 16), (0, 128, 8, 8)]


def test_values_beyond_half_precision_are_its_ends(tmp_path):
    backbone = make()
    backbone.features.layer1[0].bn2.bias[:] = 1e6
    found = cached_features(pictures(1), backbone, device=CPU, cache_dir=tmp_path)
    assert found[0].max() == np.finfo(np.float16).max


def test_it_is_private_and_beside_the_images(tmp_path, monkeypatch):
    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path / "cache"))
    cached_features(pictures(), make(), device=CPU)
    (entry,) = (tmp_path / "cache" / "features").iterdir()
    for folder in (tmp_path / "cache", tmp_path / "cache/features", entry):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_full_disk_and_a_folder_that_cannot_be_say_what_to_set(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="set A2BGAN_CACHE") as error:
        cached_features(pictures(), make(), device=CPU, cache_dir=tmp_path / "file")
    assert "\n" not in str(error.value)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    with pytest.raises(InputError, match=r"features need 0 MB .* set A2BGAN_CACHE") as error:
        cached_features(pictures(), make(), device=CPU, cache_dir=tmp_path / "cache")
    assert list((tmp_path / "cache/features").iterdir()) == []


def test_what_was_interrupted_is_gone_on_with(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, "NOTED_EVERY", 1)
    images, backbone = pictures(12), make()

    interrupted = make()
    interrupted.interrupted_after = 2
    with pytest.raises(KeyboardInterrupt):
        cached_features(images, interrupted, device=CPU, cache_dir=tmp_path)
    # What was not yet noted may be there in part, as after a kill.
    (building,) = (tmp_path / "features").iterdir()
    with (building / "features-0.npy").open("ab") as file:
        file.write(b"a part of an image")
    found = cached_features(images, backbone, device=CPU, cache_dir=tmp_path)
    assert backbone.seen == 6
    agree(found, expected(images, make()))
    assert len(os.listdir(tmp_path / "features")) == 1


def test_of_two_at_once_one_computes(tmp_path):
    images, backbones = pictures(12), [make(), make()]
    with ThreadPoolExecutor(2) as pool:  # each has a lock of its own, as processes have
        found = pool.map(
            lambda one: cached_features(images, one, device=CPU, cache_dir=tmp_path), backbones
        )
        for features in found:
            agree(features, expected(images, make()))
    assert sorted(one.seen for one in backbones) == [0, 12]


def test_what_killed_processes_left_for_a_day_is_removed(tmp_path):
    left = tmp_path / "features" / ".building-x"
    left.mkdir(parents=True)
    os.utime(left, (time.time() - 2 * 86400,) * 2)
    cached_features(pictures(), make(), device=CPU, cache_dir=tmp_path)
    assert not left.exists()
