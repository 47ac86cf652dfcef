"""A score that follows exposure is named, one that cannot see it is not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from a2bgan.data.cache.images import load_images
from a2bgan.data.config import DataConfig
from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.data.manifest import Row
from a2bgan.data.open_data import open_data
from a2bgan.detection.audit.score_audit import Dependence, ScoreAudit, _interval, audit_score

SIZES = {"mixed_normal": 1, "mixed_abnormal": 1, "test_normal": 0, "test_abnormal": 0}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Row, ...]:
    """Sixty healthy phantoms, each with an exposure of its own."""
    folder = tmp_path_factory.mktemp("healthy")
    rows = open_data(write_phantoms(folder, size=32, healthy=60, **SIZES)).split("healthy")
    for row, gain in zip(rows, np.random.default_rng(0).uniform(0.5, 1, len(rows)), strict=True):
        values = np.asarray(Image.open(row.path)) * gain
        Image.fromarray(values.astype(np.uint8)).save(row.path)
    return rows


def preprocessed(rows: tuple[Row, ...], **settings: object) -> np.ndarray:
    config = DataConfig.model_validate({"size": 32, **settings})
    images = load_images([r.path for r in rows], [r.name for r in rows], config).images
    return images.reshape(len(rows), -1).astype(np.float64)


def audit(
    rows: tuple[Row, ...] | list[Row], scores: np.ndarray, rule: str = "max"
) -> ScoreAudit | None:
    return audit_score(rows, scores, DataConfig(size=32), rule)


def test_a_score_of_darkness_is_named_with_where_its_false_alarms_fall(healthy):
    found = audit(healthy, -preprocessed(healthy).mean(1))
    assert found is not None and (found.images, found.patients) == (60, 60)
    (brightness,) = (d for d in found.dependences if d.statistic == "mean brightness")
    assert brightness.follows and brightness.correlation == pytest.approx(-1, abs=0.01)
    (warning,) = (w for w in found.warnings() if "mean brightness" in w)
    assert "false alarms fall where it is low" in warning and "data.equalize=true" in warning
    assert ("mean brightness", "-1.00 (-1.00 to -0.96) *") in found.table()


def test_a_score_of_equalised_images_does_not_follow_brightness(healthy):
    """The same dark pixels: of images as they are, and where all histograms are equal."""
    dark = np.s_[:, : 32 * 8]
    of_plain = audit(healthy, -preprocessed(healthy)[dark].mean(1))
    of_equal = audit(healthy, -preprocessed(healthy, equalize=True)[dark].mean(1))
    assert of_plain is not None and any("mean brightness" in w for w in of_plain.warnings())
    assert of_equal is not None
    assert not any("mean brightness" in w for w in of_equal.warnings())


def test_chance_is_rarely_named(healthy):
    named = 0
    for seed in range(100, 140):
        found = audit(healthy, np.random.default_rng(seed).normal(size=len(healthy)))
        assert found is not None
        named += bool(found.warnings())
    assert named <= 5  # two are expected at most


@pytest.mark.parametrize("rule", ["max", "mean"])
def test_a_patient_scores_by_the_rule_and_has_the_mean_of_the_statistics(healthy, rule):
    scores = np.random.default_rng(0).normal(size=len(healthy))
    found = audit([replace(r, patient_id=str(k // 2)) for k, r in enumerate(healthy)], scores, rule)
    assert found is not None and (found.images, found.patients) == (60, 30)
    means = np.array([np.asarray(Image.open(row.path)).mean() for row in healthy])
    pairs = scores.reshape(-1, 2)
    of_patients = pairs.max(1) if rule == "max" else pairs.mean(1)
    (brightness,) = (d for d in found.dependences if d.statistic == "mean brightness")
    expected = spearmanr(means.reshape(-1, 2).mean(1), of_patients).statistic
    assert brightness.correlation == pytest.approx(expected)


def test_what_is_no_score_and_cannot_be_read_is_left_out(healthy):
    scores = -preprocessed(healthy).mean(1)
    scores[:3] = (np.nan, np.inf, -np.inf)
    rows = [*healthy[:-5], *(replace(row, path=row.path / "gone") for row in healthy[-5:])]
    found = audit(rows, scores)
    assert found is not None and found.images == 52
    assert any("mean brightness" in w for w in found.warnings())


def test_few_patients_or_one_score_for_all_say_nothing(healthy):
    scores = -preprocessed(healthy).mean(1)
    assert audit(healthy[:20], scores[:20]) is not None
    assert audit(healthy[:19], scores[:19]) is None
    assert audit(healthy, np.ones(60)) is None
    assert audit([], np.empty(0)) is None


@pytest.mark.parametrize("true", [0.0, 0.8])
def test_intervals_hold_for_all_statistics_together(true):
    """Of normal statistics and scores: 95 % of the audits hold the truth in every interval."""
    rng = np.random.default_rng(1)
    held = 0
    spearmans = 6 / np.pi * np.arcsin(true / 2)
    for _ in range(400):
        score = rng.normal(size=40)
        statistics = true * score + np.sqrt(1 - true**2) * rng.normal(size=(8, 40))
        found = [_interval(spearmanr(s, score).statistic, 40, 8) for s in statistics]
        held += all(low < spearmans < high for low, high in found)
    assert 0.92 < held / 400 < 0.99


def test_only_far_and_sure_correlations_are_followed():
    assert Dependence("sharpness", 0.4, (0.1, 0.6)).follows
    assert not Dependence("sharpness", 0.4, (-0.1, 0.7)).follows
    assert not Dependence("sharpness", 0.2, (0.1, 0.3)).follows
    followed = ScoreAudit([Dependence("sharpness", -0.4, (-0.6, -0.1))], 20, 20)
    assert followed.table() == [("sharpness", "-0.40 (-0.60 to -0.10) *")]
