"""A score that follows exposure is named, one that cannot see it is not."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy.stats import spearmanr

from a2bgan.data.manifest import Row, open_data
from a2bgan.data.phantom import write_phantoms
from a2bgan.data.preprocessing import DataConfig
from a2bgan.detection.score_audit import Dependence, ScoreAudit, _interval, audit_score

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


def darkness(images: np.ndarray) -> np.ndarray:
    return -images.mean(axis=(1, 2, 3), dtype=np.float64)


def test_a_score_of_darkness_is_named_with_where_its_false_alarms_fall(healthy):
    found = audit_score(healthy, darkness, DataConfig(size=32))
    assert found is not None and (found.images, found.patients) == (60, 60)
    (brightness,) = (d for d in found.dependences if d.statistic == "mean brightness")
    assert brightness.follows and brightness.correlation == pytest.approx(-1, abs=0.01)
    (warning,) = (w for w in found.warnings() if "mean brightness" in w)
    assert "false alarms fall where it is low" in warning and "data.equalize=true" in warning


def test_equal_histograms_leave_nothing_to_follow(healthy):
    found = audit_score(healthy, darkness, DataConfig(size=32, equalize=True))
    assert found is not None and found.warnings() == []
    assert {d.correlation for d in found.dependences} == {0.0}


def test_chance_is_rarely_named(healthy):
    named = 0
    for seed in range(100, 140):
        scores = np.random.default_rng(seed).normal(size=len(healthy))
        found = audit_score(healthy, lambda _, s=scores: s, DataConfig(size=32))
        assert found is not None
        named += bool(found.warnings())
    assert named <= 5  # two are expected at most


def test_several_images_of_a_patient_count_as_their_mean(healthy):
    scores = np.random.default_rng(0).normal(size=len(healthy))
    pairs = [replace(row, patient_id=str(k // 2)) for k, row in enumerate(healthy)]
    found = audit_score(pairs, lambda _: scores, DataConfig(size=32))
    assert found is not None and (found.images, found.patients) == (60, 30)
    means = np.array([np.asarray(Image.open(row.path)).mean() for row in healthy])
    expected = spearmanr(means.reshape(-1, 2).mean(1), scores.reshape(-1, 2).mean(1)).statistic
    (brightness,) = (d for d in found.dependences if d.statistic == "mean brightness")
    assert brightness.correlation == pytest.approx(expected)


def test_intervals_hold_for_all_statistics_together(healthy):
    # Of independent normal statistics and scores: 95 % of the audits hold 0 in every interval.
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        score, statistics = rng.normal(size=40), rng.normal(size=(8, 40))
        found = [_interval(spearmanr(s, score).statistic, 40, 8) for s in statistics]
        held += all(low < 0 < high for low, high in found)
    assert 0.92 < held / 400 < 0.99


def test_few_name_nothing_and_fewer_are_not_audited(healthy):
    found = audit_score(healthy[:12], darkness, DataConfig(size=32))
    assert found is not None and not found.enough and found.warnings() == []
    assert any(d.follows for d in found.dependences)
    assert audit_score(healthy[:3], darkness, DataConfig(size=32)) is None
    gone = [replace(row, path=row.path / "gone") for row in healthy]
    assert audit_score(gone, darkness, DataConfig(size=32)) is None


def test_only_far_and_sure_correlations_are_followed():
    assert Dependence("sharpness", 0.4, (0.1, 0.6)).follows
    assert not Dependence("sharpness", 0.4, (-0.1, 0.7)).follows
    assert not Dependence("sharpness", 0.2, (0.1, 0.3)).follows
    followed = Dependence("sharpness", -0.4, (-0.6, -0.1))
    assert ScoreAudit([followed], 20, 20).table() == [("sharpness", "-0.40 (-0.60 to -0.10) *")]
    assert ScoreAudit([followed], 19, 19).table() == [("sharpness", "-0.40 (-0.60 to -0.10)")]
