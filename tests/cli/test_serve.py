import builtins
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.request

import pytest

from a2bgan.data.open_data import open_data

COMMAND = [sys.executable, "-m", "a2bgan.cli.app", "serve"]


def test_it_is_closed_by_default(run, a2bgan, says):
    assert "give --token" in says(a2bgan("serve", run, "--host", "0.0.0.0"))
    assert "too short" in says(a2bgan("serve", run, "--token", "short"))
    assert "not a run" in says(a2bgan("serve", run / "none"))
    for options in (["--proxy", "127.0.0.1"], ["--root-path", "/x"], ["--name", "a.example"]):
        assert "give --token" in says(a2bgan("serve", run, *options))
    assert "--proxy *: not an address" in says(a2bgan("serve", run, "--proxy", "*"))
    assert "give both" in says(a2bgan("serve", run, "--key", run))
    refused = says(a2bgan("serve", run, "--key", run / "none", "--certificate", run / "none"))
    assert "cannot be used (No such file or directory)" in refused


def test_a_missing_extra_is_one_line(run, a2bgan, says, monkeypatch):
    real = builtins.__import__

    def without(name, *rest, **kwargs):
        if name == "a2bgan.serving.reading_room":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return real(name, *rest, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert "pip install '.[serve]'" in says(a2bgan("serve", run))


def test_a_port_that_is_taken_is_one_line(run, a2bgan, says, tmp_path):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        result = a2bgan("serve", run, "--port", port, "--room", tmp_path / "room")
        assert "choose another --port" in says(result)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("encrypted", [False, True])
def test_two_servers_on_one_run_and_a_quiet_end(run, a2bgan, says, tmp_path, encrypted):
    if encrypted and shutil.which("openssl") is None:
        pytest.skip("no openssl on this machine")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [str(run), "--room", str(tmp_path / "room"), "--port", str(port)]
    if encrypted:
        pair = tmp_path / "certificate.pem", tmp_path / "key.pem"
        make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=x"]
        make += ["-keyout", pair[1], "-out", pair[0]]
        subprocess.run(make, check=True, capture_output=True)
        options += ["--certificate", str(pair[0]), "--key", str(pair[1])]
    server = subprocess.Popen(
        [*COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    unchecked = ssl._create_unverified_context() if encrypted else None
    scheme = "https" if encrypted else "http"
    try:
        address = f"{scheme}://127.0.0.1:{port}/api/cases?q=patient-of-interest"
        for _ in range(600):
            try:
                with urllib.request.urlopen(address, context=unchecked) as answer:
                    assert answer.status == 200
                    assert answer.headers["server"] is None
                break
            except OSError:
                time.sleep(0.2)
        second = a2bgan("serve", run, "--room", tmp_path / "room", "--port", port + 1)
        assert "another reading room is open here" in says(second)
    finally:
        os.kill(server.pid, signal.SIGINT)
        said, _ = server.communicate(timeout=60)
    assert server.returncode == 0
    assert f"{scheme}://127.0.0.1:{port}/" in said
    assert "12 cases, 0 that could not be scored" in said
    assert "Traceback" not in said
    assert "patient-of-interest" not in said  # no log of requests


def test_select_takes_exported_verdicts_wherever_they_lie(run, phantoms, a2bgan, says, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    names = [row.name for row in open_data(phantoms).split("test")]
    verdicts = tmp_path / "downloads" / "verdicts.csv"
    verdicts.parent.mkdir()
    lines = [f"{name},test,{k % 2},,,note,0.1,now" for k, name in enumerate(names)]
    head = "path,split,label,patient_id,verdict,note,score,read_at"
    verdicts.write_text("\n".join([head, *lines]) + "\n")
    result = a2bgan("select", copy, "--by", "labels", "--labels", verdicts)
    assert result.exit_code == 0, result.output
    assert "by labels (AUROC" in result.output
    assert "left out" not in result.output
