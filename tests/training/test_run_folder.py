import json

import pytest

from a2bgan.data.open_data import open_data
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder

CONFIG = load_config("fast")


def test_a_run_is_refused_resumed_or_replaced_but_never_overwritten_by_chance(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    (run.samples / "old.png").write_text("x")
    with pytest.raises(InputError, match="resume=True goes on with it, overwrite=True replaces it"):
        RunFolder.create(run.path, CONFIG)
    RunFolder.create(run.path, CONFIG, overwrite=True)
    assert not (run.samples / "old.png").exists()


def test_a_folder_that_is_no_run_is_never_emptied(tmp_path):
    (tmp_path / "thesis.txt").write_text("x")
    with pytest.raises(InputError, match="exists and is not a run"):
        RunFolder.create(tmp_path, CONFIG, overwrite=True)
    with pytest.raises(InputError, match="exists and is not a run"):
        RunFolder.create(tmp_path / "thesis.txt", CONFIG, overwrite=True)
    assert (tmp_path / "thesis.txt").exists()


def test_the_manifest_is_kept_with_its_hash_and_its_folder(tiny_set, tmp_path):
    manifest = open_data(tiny_set)
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.keep_manifest(manifest)
    assert run.manifest() == manifest
    assert run.manifest_sha256() == manifest.sha256
    tiny_set.rename(tiny_set.with_name("moved"))
    with pytest.raises(InputError, match="gone; put them back, or give --data"):
        run.manifest()


def test_what_is_no_run_is_named(tmp_path):
    with pytest.raises(InputError, match="not a run"):
        RunFolder.open(tmp_path)
    run = RunFolder.create(tmp_path / "run", CONFIG)
    with pytest.raises(InputError, match="without a manifest; give --data"):
        run.manifest()


@pytest.mark.parametrize("left", ["", "{", "{}"])
def test_resources_that_are_half_written_are_written_anew(left, tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    run.note_resources(1.0)
    whole = json.loads(run.resources_file.read_text())
    run.resources_file.write_text(left)
    run.note_resources(2.0)
    again = json.loads(run.resources_file.read_text())
    assert again.keys() == whole.keys()
    assert again["training_seconds"] == 2
    assert again["peak_memory"] >= whole["peak_memory"] > 0


def test_metrics_after_a_step_are_forgotten_and_half_a_line_is_passed_over(tmp_path):
    run = RunFolder.create(tmp_path / "run", CONFIG)
    for step in (1, 2, 3):
        run.append_metrics({"step": step})
    with run.metrics_file.open("a") as file:
        file.write('{"step": 4')
    run.truncate_metrics(2)
    assert list(run.metrics()) == [{"step": 1}, {"step": 2}]
