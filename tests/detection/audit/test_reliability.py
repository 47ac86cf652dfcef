"""When a training is called doubtful, and when not."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from a2bgan.detection.audit.reliability import find_weaknesses, read_weaknesses
from a2bgan.detection.image_sets import ImageSet
from a2bgan.detection.trained_model import load_trained, read_pick, write_selection
from a2bgan.training.run_folder import RunFolder

NOTHING = ImageSet(np.zeros((0, 1, 8, 8), np.uint8), np.array([], dtype=np.str_))


@pytest.fixture
def copy(run, tmp_path):
    return RunFolder(shutil.copytree(run, tmp_path / "run"))


@pytest.fixture
def method(copy):
    return load_trained(copy).method


def with_settings(run, old, new):
    text = run.config_file.read_text()
    assert old in text
    run.config_file.write_text(text.replace(old, new))


def test_few_steps_and_an_early_end(copy, method):
    with_settings(copy, "least_steps: 80", "least_steps: 7")
    (said,) = find_weaknesses(copy, method, {}, NOTHING, NOTHING)
    assert said.startswith("6 steps are too few: fewer than 7")
    with_settings(copy, "least_steps: 7", "least_steps: 6")
    assert find_weaknesses(copy, method, {}, NOTHING, NOTHING) == []
    with_settings(copy, "steps: 6", "steps: 60")
    with_settings(copy, "least_steps: 60", "least_steps: 6")
    (said,) = find_weaknesses(copy, method, {}, NOTHING, NOTHING)
    assert "stopped before the end" in said


def test_scores_that_tell_nothing_apart_or_no_more_than_brightness(copy, method):
    with_settings(copy, "least_steps: 80", "least_steps: 6")
    rng = np.random.default_rng(0)
    healthy, mixed = (
        rng.integers(0, 100, (20, 1, 16, 16)).astype(np.uint8) + np.uint8(brighter)
        for brighter in (0, 20)
    )
    parts = [ImageSet(images, np.arange(20).astype(str)) for images in (healthy, mixed)]
    (said,) = find_weaknesses(copy, method, {"aucp": 0.55, "standard_error": 0.04}, *parts)
    assert said.startswith("held-out mixed images do not clearly score above")
    (said,) = find_weaknesses(copy, method, {"aucp": 0.8, "standard_error": 0.04}, *parts)
    assert said.startswith("mean brightness alone tells") and "(1.000 against 0.800)" in said
    parts[1] = parts[0]
    assert find_weaknesses(copy, method, {"aucp": 0.8, "standard_error": 0.04}, *parts) == []


def test_frozen_features_that_tell_nothing_apart(copy, method):
    with_settings(copy, "least_steps: 80", "least_steps: 6")
    chance = SimpleNamespace(no_better_than_chance=True)
    (said,) = find_weaknesses(copy, chance, {}, NOTHING, NOTHING)
    assert "next to nothing to learn" in said


def test_doubts_are_kept_with_the_selection(copy):
    write_selection(copy, read_pick(copy), doubts=["few steps"])
    assert read_weaknesses(copy) == ["few steps"]
