import numpy as np
import pytest

from a2bgan.data.manifest import Row
from a2bgan.detection.audit.subgroups import FEWEST_PATIENTS, subgroups
from a2bgan.detection.measures.metrics import auroc


def rows(tmp_path, views, patients=None):
    return [
        Row(f"{k}.png", tmp_path / f"{k}.png", "test", None,
            f"{k}.png" if patients is None else patients[k], None, None,
            (("view", view),) if view else ())
        for k, view in enumerate(views)
    ]  # fmt: skip


def test_each_group_has_its_own_auroc(tmp_path):
    rng = np.random.default_rng(0)
    n = 2 * FEWEST_PATIENTS
    views = ["AP", "PA"] * n
    labels = np.repeat((0, 1), n)
    scores = rng.normal(size=2 * n) + labels * np.tile((3.0, 0.0), n)
    found = {group.value: group for group in subgroups(rows(tmp_path, views), labels, scores)}
    for k, value in enumerate(("AP", "PA")):
        assert found[value].auroc == pytest.approx(auroc(labels[k::2], scores[k::2]))
        assert (found[value].normal, found[value].abnormal) == (n // 2, n // 2)
        low, high = found[value].interval
        assert 0 <= low <= found[value].auroc <= high <= 1
    assert found["AP"].cells()[0] == "view AP"


def test_small_groups_unknown_values_and_what_all_have_are_left_out(tmp_path):
    labels = np.repeat((0, 1), 20)
    scores = np.arange(40.0)
    few = ["AP"] * 9 + ["PA"] * 11 + ["PA"] * 11 + ["AP"] * 9
    assert [g.value for g in subgroups(rows(tmp_path, few), labels, scores)] == ["PA"]
    assert subgroups(rows(tmp_path, ["PA"] * 40), labels, scores) == []
    assert subgroups(rows(tmp_path, [""] * 40), labels, scores) == []


def test_patients_count_not_images(tmp_path):
    labels = np.repeat((0, 1), 20)
    patients = [f"P{k // 4}" for k in range(40)]  # five of each label
    found = subgroups(rows(tmp_path, ["AP", "PA"] * 20, patients), labels, np.arange(40.0))
    assert found == []
