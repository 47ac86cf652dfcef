"""Every file of a run, damaged in every way: one line, or nothing lost; never a traceback."""

import shutil

import pytest

from a2bgan.errors import InputError

DAMAGES = {
    "empty": b"",
    "binary": bytes(range(256)) * 4,
    "object": b"{}",
    "text": b"no such thing\n",
    "deep": b"[" * 100_000,
    "long number": b'{"step": ' + b"9" * 5000 + b"}",
}
FILES = [
    "config.yaml",
    "manifest.csv",
    "manifest.json",
    "environment.json",
    "metrics.jsonl",
    "holdout.csv",
    "validation.jsonl",
    "selection.json",
    "calibration.json",
    "resources.json",
    "checkpoints/step-00000006/progress.json",
    "checkpoints/step-00000006/translator.safetensors",
    "checkpoints/step-00000006/optimizers.safetensors",
]
COMMANDS = [("evaluate",), ("select",), ("calibrate",), ("report",), ("train", "--resume", "--out")]


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_named_or_does_not_matter(run, a2bgan, tmp_path, name):
    for number, (damage, content) in enumerate(DAMAGES.items()):
        command = COMMANDS[number % len(COMMANDS)]
        copy = tmp_path / f"run-{number}"
        shutil.copytree(run, copy)
        (copy / name).write_bytes(content)
        result = a2bgan(*command, copy)
        shutil.rmtree(copy)
        if result.exit_code:
            assert isinstance(result.exception, InputError | SystemExit), (
                damage, command, result.exception
            )  # fmt: skip
            assert "\n" not in str(result.exception)
