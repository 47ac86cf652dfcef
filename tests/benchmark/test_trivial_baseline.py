from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.benchmark.trivial_baseline import trivial_row
from a2bgan.data.config import DataConfig
from a2bgan.data.generate.phantom_volumes import write_phantom_volumes
from a2bgan.data.generate.phantoms import write_phantoms
from a2bgan.data.manifest import Manifest
from a2bgan.data.open_data import open_data
from a2bgan.data.volume_rows import expand_volumes
from a2bgan.detection.evaluate import evaluate
from a2bgan.detection.measures.metrics import auroc
from a2bgan.detection.trained_model import load_trained
from a2bgan.training.run_folder import RunFolder


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
    assert row.mean("auroc") == auroc([r.label for r in test], repeat.scores) > 0.8


def test_it_is_chosen_without_labels(underexposed: Manifest):
    def relabelled(row):
        return (
            row if row.split != "mixed" or row.label is None else replace(row, label=1 - row.label)
        )

    flipped = Manifest(tuple(map(relabelled, underexposed.rows)), underexposed.root)
    one, other = (trivial_row(m, DataConfig(size=32)) for m in (underexposed, flipped))
    assert np.array_equal(one.repeats[0].scores, other.repeats[0].scores)


def test_slices_have_the_labels_that_methods_are_evaluated_by(tmp_path: Path, run: Path):
    counts = {"healthy": 6, "mixed_normal": 3, "mixed_abnormal": 3}
    whole = open_data(
        write_phantom_volumes(tmp_path / "h", size=32, **counts, test_normal=2, test_abnormal=2)
    )
    trained = load_trained(RunFolder.open(run))
    config = trained.config.data
    manifest = expand_volumes(whole, config)
    measured = evaluate(trained, manifest)
    row = trivial_row(manifest, config)
    assert row is not None
    (repeat,) = row.repeats
    assert repeat.paths == [r.name for r in measured.rows]
    assert np.array_equal(repeat.labels, measured.labels)
    # Slices of diseased volumes are of both kinds.
    given = np.array([r.label for r in manifest.split("test")])
    assert 0 < repeat.labels[given == 1].sum() < (given == 1).sum()
    assert repeat.metrics["n_abnormal"] == repeat.labels.sum()


def test_there_is_none_without_images_or_labels_of_both_kinds(tiny_set: Path):
    manifest = open_data(tiny_set)
    one_kind = tuple(r for r in manifest.rows if r.split != "test" or r.label == 0)
    assert trivial_row(Manifest(one_kind, manifest.root), DataConfig(size=32)) is None
    for row in manifest.split("mixed"):
        row.path.unlink()
    assert trivial_row(manifest, DataConfig(size=32)) is None
