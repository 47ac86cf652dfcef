"""Fitting evidence on sets whose difference is known."""

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from a2bgan.data.batches import to_unit_range
from a2bgan.models.evidence import Evidence
from a2bgan.training import evidence_fit
from a2bgan.training.evidence_fit import FOLDS, _folds, fit_evidence
from a2bgan.training.training_sets import TrainingSets

CPU = torch.device("cpu")


class Pooled(nn.Module):
    """Means of images of 64 pixels over squares of 8, 16 and 32, and their opposites."""

    channels = (2, 2, 2)

    def forward(self, x):
        means = [functional.avg_pool2d(x, side) for side in (8, 16, 32)]
        return [torch.cat([m, -m], 1) for m in means]


@pytest.fixture(autouse=True)
def looked_at(monkeypatch) -> list[np.ndarray]:
    """Takes features straight from images; the sets whose features were asked for."""
    asked = []

    def features(images, backbone, *, device):
        asked.append(images)
        return [f.numpy() for f in backbone(to_unit_range(images))]

    monkeypatch.setattr(evidence_fit, "cached_features", features)
    return asked


def images(count: int, bright: int, seed: int) -> np.ndarray:
    """Noise of any exposure with a square at a random place, in the first ones bright, else dark:
    neither an image's mean nor its deviation tells which."""
    rng = np.random.default_rng(seed)
    found = rng.normal(0, 10, (count, 1, 64, 64)) + rng.uniform(90, 160, (count, 1, 1, 1))
    for number, (top, left) in enumerate(rng.integers(0, 48, (count, 2))):
        found[number, 0, top : top + 16, left : left + 16] += 60 if number < bright else -60
    return found.clip(0, 255).astype(np.uint8)


def fit(sets: TrainingSets) -> Evidence:
    evidence = Evidence(Pooled())
    fit_evidence(evidence, sets, CPU)
    return evidence


def test_places_in_half_of_the_mixed_set_are_found_without_labels():
    sets = TrainingSets.of(images(80, 0, 1), images(80, 40, 2), None)
    evidence = fit(sets)
    # Every diseased image above every healthy one, and half of A healthy: 0.75.
    assert 0.68 < float(evidence.reliability[0]) < 0.82
    assert abs(float(evidence.reliability[1]) - 0.5) < 0.15
    assert evidence.weights[0] > 0.8
    with torch.no_grad():
        new = images(40, 20, 3)
        found = evidence(to_unit_range(new))
    assert found.score[:20].min() > found.score[20:].max()
    place = found.odds[0].argmax()
    brightest = functional.avg_pool2d(to_unit_range(new[:1]), 16).flatten().argmax()
    assert place == brightest


def test_the_weights_are_what_reliabilities_exceed_chance_by():
    patients = np.repeat(np.arange(40), 2), np.repeat(np.arange(40, 80), 2)
    evidence = fit(TrainingSets.of(images(80, 0, 1), images(80, 80, 2), patients))
    error = math.sqrt((40 + 40 + 1) / (12 * 40 * 40))
    gains = [max(float(r) - 0.5 - error, 0) for r in evidence.reliability]
    assert gains[0] > 0.3
    np.testing.assert_allclose(evidence.weights, np.array(gains) / sum(gains), rtol=1e-5)


def test_sets_that_are_alike_have_nothing_to_tell_and_the_focal_model_counts():
    evidence = fit(TrainingSets.of(images(60, 0, 4), images(60, 0, 5), None))
    assert torch.all((evidence.reliability - 0.5).abs() < 0.15)
    assert evidence.weights.tolist() == [1, 0]


def test_exposure_alone_is_the_diffuse_models():
    b, a = images(60, 0, 6) // 2, images(60, 0, 7) // 2 + 100
    evidence = fit(TrainingSets.of(b, a, None))
    assert evidence.reliability[1] > 0.95
    assert abs(float(evidence.reliability[0]) - 0.5) < 0.15
    assert evidence.weights[1] > 0.8


def test_no_fold_splits_a_patient():
    patients = np.random.default_rng(0).integers(0, 30, 200)
    folds = _folds(patients)
    assert set(folds.tolist()) == set(range(FOLDS))
    for patient in set(patients.tolist()):
        assert len(set(folds[patients == patient].tolist())) == 1
    np.testing.assert_array_equal(folds, _folds(patients))
    assert set(_folds(np.array(["a", "b", "a", "c"])).tolist()) == {0, 1, 2}


def test_what_is_known_of_a_patient_says_nothing_of_it():
    """Two patients of A, each with an exposure of its own: by images it would be learned."""
    b = np.concatenate([images(20, 0, seed) // 2 for seed in (1, 2)])
    a = np.concatenate([images(20, 0, 3) // 4 + 190, images(20, 0, 4) // 4 + 1])
    patients = np.repeat([1, 2], 20), np.repeat([3, 4], 20)
    by_image, by_patient = (fit(TrainingSets.of(b, a, whose)) for whose in (None, patients))
    assert by_image.reliability[1] > 0.9
    assert by_patient.reliability[1] < 0.6


def test_a_part_of_large_sets_is_enough(monkeypatch, looked_at):
    monkeypatch.setattr(evidence_fit, "MOST_IMAGES", 10)
    b, a = images(25, 0, 1), images(10, 5, 2)
    fit(TrainingSets.of(b, a, None))
    assert [len(seen) for seen in looked_at] == [10, 10]
    of_b = {image.tobytes() for image in b}
    assert len({image.tobytes() for image in looked_at[0]} & of_b) == 10
    assert looked_at[1] is a


@pytest.mark.parametrize("counts", [(1, 1), (2, 3)])
def test_few_images_are_enough(counts):
    evidence = fit(TrainingSets.of(images(counts[0], 0, 1), images(counts[1], 1, 2), None))
    assert all(torch.isfinite(value).all() for value in evidence.state_dict().values())


def test_the_same_images_give_the_same_evidence():
    sets = TrainingSets.of(images(20, 0, 1), images(20, 10, 2), None)
    one, other = (fit(sets).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert one["focal_weight"].any() and one["diffuse_weight"].any()
