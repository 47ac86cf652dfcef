import builtins
import socket

import pytest

from a2bgan.serving.dicom_node.queue import Queue
from a2bgan.serving.private_folder import open_private


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--host", "0.0.0.0"), "give --allow-peer"),
        (("--send-to", "ORTHANC"), "give AET@host:port"),
        (("--send-to", "ORTHANC@host:99999"), "give AET@host:port"),
        (("--send-to", "MUCH-TOO-LONG-A-TITLE@host:104"), "give AET@host:port"),
        (("--allow-peer", "the-archive"), "not an address or network"),
        (("--allow-ae", "back\\slash"), "not an AE title"),
        (("--aet", "é"), "not an AE title"),
    ],
)
def test_wrong_options_are_one_line(run, a2bgan, says, options, message):
    assert message in says(a2bgan("listen", run, *options))


def test_no_run_and_no_pynetdicom(run, a2bgan, says, monkeypatch, tmp_path):
    assert "not a run" in says(a2bgan("listen", tmp_path))
    real = builtins.__import__

    def without(name, *rest, **kwargs):
        if name == "a2bgan.serving.dicom_node.node":
            raise ModuleNotFoundError("No module named 'pynetdicom'", name="pynetdicom")
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install '.[listen]'" in says(a2bgan("listen", run))


def test_a_queue_has_one_listener_and_one_way_out(run, a2bgan, says, tmp_path):
    place = tmp_path / "queue"
    with open_private(place, "DICOM node", "--queue"):
        line = says(a2bgan("listen", run, "--queue", place))
        assert "another DICOM node is open here" in line and "--queue" in line
    queue = Queue(place)
    (queue.outbox / ("0" * 64)).mkdir()
    (queue.outbox / ("0" * 64) / "capture.dcm").touch()
    queue.close()
    # What was scored for the archive holds identifiers, so it does not end up in results/.
    line = says(a2bgan("listen", run, "--queue", place))
    assert "results of 1 images wait to be sent; give --send-to" in line


def test_a_port_that_is_taken_is_one_line(run, a2bgan, says, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = a2bgan("listen", run, "--port", port, "--queue", tmp_path / "queue")
        assert "choose another --port" in says(result)
