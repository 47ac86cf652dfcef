import numpy as np
import pytest
import torch

from a2bgan.data.batches import (
    AugmentConfig,
    RandomBatches,
    augment,
    to_grey_levels,
    to_unit_range,
)

NOTHING = AugmentConfig(flip=False, shift=0, brightness=0, contrast=0)


def numbered(n: int) -> np.ndarray:
    return np.arange(n, dtype=np.uint8)[:, None, None, None] * np.ones((1, 1, 4, 4), np.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_a_pass_shows_every_image_once_also_across_batches():
    batches = RandomBatches(numbered(10), batch_size=4, seed=0)
    seen = np.concatenate([batches.indices(step) for step in range(5)])
    assert sorted(seen[:10]) == sorted(seen[10:]) == list(range(10))
    assert list(seen[:10]) != list(seen[10:])


def test_a_step_depends_on_seed_and_step_alone():
    batches = RandomBatches(numbered(50), batch_size=8, seed=3)
    forwards = [batches.indices(step).tolist() for step in range(20)]
    again = RandomBatches(numbered(50), batch_size=8, seed=3)
    assert [again.indices(step).tolist() for step in reversed(range(20))] == forwards[::-1]
    other = RandomBatches(numbered(50), batch_size=8, seed=4)
    assert other.indices(0).tolist() != forwards[0]


def test_processes_share_the_batch_of_one():
    alone = RandomBatches(numbered(50), batch_size=8, seed=0).indices(3)
    shares = [
        RandomBatches(numbered(50), 4, seed=0, rank=rank, world_size=2).indices(3)
        for rank in range(2)
    ]
    assert np.concatenate(shares).tolist() == alone.tolist()


def test_a_set_smaller_than_a_batch():
    batch = RandomBatches(numbered(3), batch_size=8, seed=0)(0)
    assert batch.shape == (8, 1, 4, 4)
    assert len(set(batch[:, 0, 0, 0].tolist())) == 3


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_range_is_minus_one_to_one(dtype):
    ends = np.array([0, np.iinfo(dtype).max], dtype=dtype)
    assert to_unit_range(ends).tolist() == [-1.0, 1.0]


def test_grey_levels_round_trip_and_clip():
    levels = np.arange(256, dtype=np.uint8)
    assert to_grey_levels(to_unit_range(levels)).tolist() == levels.tolist()
    assert to_grey_levels(torch.tensor([-3.0, 3.0])).tolist() == [0, 255]


def test_no_augmentation_changes_nothing():
    x = torch.rand(4, 1, 8, 8)
    assert torch.equal(augment(x, NOTHING, generator()), x)


def test_flips_some_images_and_only_left_to_right():
    x = torch.rand(64, 3, 6, 5)
    out = augment(x, NOTHING.model_copy(update={"flip": True}), generator())
    flipped = [torch.equal(o, i.flip(2)) for o, i in zip(out, x, strict=True)]
    kept = [torch.equal(o, i) for o, i in zip(out, x, strict=True)]
    assert all(f != k for f, k in zip(flipped, kept, strict=True))
    assert 10 < sum(flipped) < 54


def test_shifts_repeat_the_edges():
    x = torch.rand(32, 2, 8, 16)
    out = augment(x, NOTHING.model_copy(update={"shift": 0.25}), generator())
    offsets = set()
    for image, moved in zip(x.numpy(), out.numpy(), strict=True):
        padded = np.pad(image, ((0, 0), (2, 2), (4, 4)), mode="edge")
        found = [
            (dy, dx)
            for dy in range(5)
            for dx in range(9)
            if np.array_equal(padded[:, dy : dy + 8, dx : dx + 16], moved)
        ]
        assert len(found) == 1
        offsets.add(found[0])
    assert len(offsets) > 15


def test_brightness_and_contrast_stay_within_their_bounds():
    x = torch.full((200, 1, 4, 4), 0.5)
    brighter = augment(x, NOTHING.model_copy(update={"brightness": 0.4}), generator())
    assert 0.3 <= brighter.min() < 0.35
    assert 0.65 < brighter.max() <= 0.7
    contrasted = augment(x, NOTHING.model_copy(update={"contrast": 0.4}), generator())
    assert 0.4 <= contrasted.min() < 0.42
    assert 0.58 < contrasted.max() <= 0.6
    assert (contrasted.std(dim=(1, 2, 3)) < 1e-6).all()
