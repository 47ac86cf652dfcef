from a2bgan.benchmark.runs import Training, time_needed
from a2bgan.data.manifest import Manifest
from a2bgan.training.run_folder import RunFolder


def training(tmp_path, preset: str, *settings: str) -> Training:
    manifest = Manifest((), tmp_path)
    return Training(RunFolder(tmp_path / preset), [], manifest, preset, list(settings))


def test_the_time_of_all_trainings_is_said_before_the_first(tmp_path):
    timed = [training(tmp_path, "fast", "train.minutes=8")] * 3
    said = time_needed(timed, 2)
    assert said.startswith("3 trainings, 2 at a time: 12 minutes of training in all")
    assert "by steps" not in said
    both = time_needed([*timed, training(tmp_path, "fast", "train.steps=100")], 1)
    assert "4 trainings, 1 at a time: 24 minutes" in both and "1 of them by steps" in both
