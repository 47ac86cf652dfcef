"""Commands in processes of their own end with the one that started them."""

import os
import signal
import threading
import time

import pytest

from a2bgan.benchmark.child_commands import Children


def test_a_signal_ends_the_command_that_is_waited_for(tmp_path, monkeypatch):
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    command = tmp_path / "command"
    command.write_text(
        f"#!/bin/sh\ntrap 'touch {ended}; exit 0' TERM\ntouch {ready}\n"
        "while true; do sleep 0.05; done\n"
    )
    command.chmod(0o700)
    monkeypatch.setattr("a2bgan.benchmark.child_commands.sys.executable", str(command))

    def terminate():
        until = time.monotonic() + 20
        while not ready.exists() and time.monotonic() < until:
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGTERM)

    with Children() as children:
        thread = threading.Thread(target=terminate)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            children.run("train")
        assert ended.exists()  # it had time to write its checkpoint
        thread.join()
