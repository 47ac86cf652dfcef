from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.manifest import Manifest, open_data
from a2bgan.data.phantom import write_phantoms
from a2bgan.data.preprocessing import DataConfig
from a2bgan.detection.metrics import auroc
from a2bgan.report.trivial_baseline import trivial_row


@pytest.fixture(scope="module")
def underexposed(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    folder = tmp_path_factory.mktemp("data") / "underexposed"
    sizes = {"healthy": 40, "mixed_normal": 10, "mixed_abnormal": 30}
    sizes |= {"test_normal": 20, "test_abnormal": 20}
    return open_data(write_phantoms(folder, size=32, **sizes, shortcut="exposure"))


def test_it_scores_by_what_tells_the_training_sets_apart(underexposed: Manifest):
    row = trivial_row(underexposed, DataConfig(size=32))
    assert row is not None
    (repeat,) = row.repeats
    test = underexposed.split("test")
    assert repeat.paths == [r.name for r in test]
    assert repeat.metrics["score"] in ("mean brightness", "contrast (sd)", "border brightness")
    if repeat.metrics["score"] == "mean brightness":
        means = np.array([np.asarray(Image.open(r.path)).mean() for r in test])
        assert repeat.scores == pytest.approx(-means / 255, abs=1e-6)  # darker is more abnormal
    assert row.auroc == auroc([r.label for r in test], repeat.scores) > 0.8


def test_it_is_chosen_without_labels(underexposed: Manifest):
    def relabelled(row):
        return (
            row if row.split != "mixed" or row.label is None else replace(row, label=1 - row.label)
        )

    flipped = Manifest(tuple(map(relabelled, underexposed.rows)), underexposed.root)
    one, other = (trivial_row(m, DataConfig(size=32)) for m in (underexposed, flipped))
    assert np.array_equal(one.scores, other.scores)


def test_there_is_none_without_images_or_labels_of_both_kinds(tiny_set: Path):
    manifest = open_data(tiny_set)
    one_kind = tuple(r for r in manifest.rows if r.split != "test" or r.label == 0)
    assert trivial_row(Manifest(one_kind, manifest.root), DataConfig(size=32)) is None
    for row in manifest.split("mixed"):
        row.path.unlink()
    assert trivial_row(manifest, DataConfig(size=32)) is None
