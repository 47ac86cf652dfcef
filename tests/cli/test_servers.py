"""What `serve` and `listen` have in common."""

import builtins
import socket

import pytest


@pytest.mark.parametrize(
    ("command", "module", "missing"),
    [
        ("serve", "a2bgan.serving.reading_room", "uvicorn"),
        ("listen", "a2bgan.serving.dicom_node.node", "pynetdicom"),
    ],
)
def test_a_missing_extra_is_one_line(run, a2bgan, says, monkeypatch, command, module, missing):
    real = builtins.__import__

    def without(name, *rest, **kwargs):
        if name == module:
            raise ModuleNotFoundError(f"No module named {missing!r}", name=missing)
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert f"pip install '.[{command}]'" in says(a2bgan(command, run))


@pytest.mark.parametrize(("command", "folder"), [("serve", "--room"), ("listen", "--queue")])
def test_a_port_that_is_taken_is_one_line(run, a2bgan, says, tmp_path, command, folder):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = a2bgan(command, run, "--port", port, folder, tmp_path / "place")
        assert "choose another --port" in says(result)
        assert result.output.startswith(f"loading {run}")
