import getpass
import os
import re
import socket
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from a2bgan.training.event_file import EventFile


def test_tensorboard_reads_it_and_forgets_what_is_logged_again(tmp_path):
    for first in (0, 3):
        events = EventFile(tmp_path / "tensorboard", first)
        for step in range(first, 6):
            events.log(step, {"loss": first + step / 10})
        events.close()
    read = EventAccumulator(str(tmp_path / "tensorboard"))
    read.Reload()
    values = {event.step: event.value for event in read.Scalars("loss")}
    expected = {0: 0, 1: 0.1, 2: 0.2, 3: 3.3, 4: 3.4, 5: 3.5}
    assert values == pytest.approx(expected)


def test_a_run_names_neither_the_machine_nor_who_trained(
    phantoms, a2bgan, small, tmp_path, monkeypatch
):
    """But the folder of the images, which `manifest.json` says in one place."""
    monkeypatch.setattr(socket, "gethostname", lambda: "host-of-the-test")
    monkeypatch.setattr(getpass, "getuser", lambda: "user-of-the-test")
    monkeypatch.setenv("USER", "user-of-the-test")
    run = tmp_path / "run"
    logger = ("--set", "train.logger=tensorboard")
    result = a2bgan("train", "--data", phantoms, "--out", run, *small, *logger)
    assert result.exit_code == 0, result.output
    assert list(run.glob("tensorboard/*"))
    secrets = [b"host-of-the-test", b"user-of-the-test", os.fsencode(Path.home()), b"/tmp/"]
    secrets += [os.fsencode(tmp_path), os.fsencode(os.getcwd())]
    if len(socket.getfqdn()) > 3:
        secrets.append(socket.getfqdn().encode())
    for file in run.rglob("*"):
        assert not any(secret in os.fsencode(file.relative_to(run)) for secret in secrets)
        if not file.is_file():
            continue
        content = file.read_bytes()
        if file.name == "manifest.json":
            content = re.sub(rb'"root": "[^"]*"', b"", content)
        for secret in secrets:
            assert secret not in content, (file.relative_to(run), secret)
