"""Images of another kind are noticed; those of the same kind seldom are."""

import json

import numpy as np
import pytest

from a2bgan.detection.audit.familiarity import (
    FEWEST_PATIENTS,
    Familiarity,
    describe,
    learn_familiarity,
)


@pytest.fixture(scope="module")
def films():
    """Bright tops that fade downwards, each with its own noise and its own fading."""
    rng = np.random.default_rng(0)
    fade = np.linspace(1, 0, 64)[:, None] ** rng.uniform(0.7, 1.4, (400, 1, 1))
    noise = rng.normal(0, 0.05, (400, 64, 64))
    return np.clip(220 * (fade + noise), 0, 255).astype(np.uint8)[:, None]


@pytest.fixture(scope="module")
def known(films):
    found = learn_familiarity(films[:200], np.arange(200).astype(str))
    assert found is not None
    return found


@pytest.mark.parametrize(
    "change",
    [
        lambda x: 255 - x,
        lambda x: x[:, :, ::-1],
        lambda x: np.rot90(x, axes=(2, 3)),
        lambda x: np.random.default_rng(1).integers(0, 256, x.shape).astype(np.uint8),
        lambda x: np.full_like(x, 255),
    ],
    ids=["inverted", "upside down", "turned", "noise", "blank"],
)
def test_other_images_are_unfamiliar(known, films, change):
    assert known.unfamiliar(change(films[200:210])).all()


def test_images_of_the_same_kind_are_as_seldom_unfamiliar_as_is_promised(known, films):
    assert known.unfamiliar(films[200:]).mean() <= 0.03
    p = known.p_values(films[200:])
    assert 0.4 < p.mean() < 0.6 and p.min() >= 1 / 201


def test_a_single_image_and_any_depth_say_the_same(known, films):
    one = known.p_values(films[200:201])
    assert one == known.p_values(films[200:201].astype(np.uint16) * 257)
    assert one == known.p_values(films[200:201] / np.float32(255))


def test_images_of_a_patient_do_not_make_each_other_familiar(films):
    twice = np.concatenate([films[:100], films[:100]])
    patients = np.tile(np.arange(100), 2).astype(str)
    found = learn_familiarity(twice, patients)
    assert found is not None and found.distances.min() > 0


def test_what_is_kept_in_a_file_says_the_same(known, films):
    again = Familiarity.from_dict(json.loads(json.dumps(known.as_dict())))
    np.testing.assert_array_equal(again.p_values(films[200:]), known.p_values(films[200:]))


def test_too_few_patients(films):
    few = FEWEST_PATIENTS - 1
    assert learn_familiarity(films[:few], np.arange(few).astype(str)) is None


def test_the_descriptor_is_mean_and_spread_of_cells():
    image = np.random.default_rng(0).random((1, 3, 33, 40)).astype(np.float32)
    cell = image.mean(1)[0, 4:8, 5:10]
    found = describe(image)[0]
    assert found.shape == (128,)
    np.testing.assert_allclose(found[9], cell.mean(), rtol=1e-5)
    np.testing.assert_allclose(found[64 + 9], 2 * cell.std(), rtol=1e-5)
