"""The examples of docs/rest.md, as they stand there, before a server that listens."""

import os
import re
import shutil
import subprocess
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("uvicorn")

from a2bgan.serving.reading_room import http_server
from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "rest.md"


def example(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    return found


@pytest.fixture
def served(room, token, tmp_path, monkeypatch):
    """A server with a token, its address in the environment, and film.png in the folder."""
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 40), dtype=np.uint8)
    Image.fromarray(pixels).save("film.png")
    with http_server.listen("127.0.0.1", 0, proxies=(), encrypted=False) as door:
        port = door.getsockname()[1]
        app = make_app(room, Access("127.0.0.1", port, token))
        server = http_server.make_server(app, door, proxies=(), tls=None)
        thread = threading.Thread(target=http_server.run, args=(server, door))
        thread.start()
        while not server.started:
            time.sleep(0.01)
        monkeypatch.setenv("A2BGAN_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("A2BGAN_TOKEN", token)
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        yield room
        server.should_exit = True
        thread.join()


def test_the_python_example_scores_an_image_and_keeps_a_verdict(served, capsys):
    exec(compile(example("python"), str(DOCUMENT), "exec"), {})
    score, answer = capsys.readouterr().out.splitlines()
    assert [float(number) >= 0 for number in score.split()] == [True, True]
    assert answer == "unsure"
    assert served.verdicts.get(f"{38:064x}").note == "look again"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_example_scores_an_image(served):
    ran = subprocess.run(
        ["bash", "-c", example("sh")], capture_output=True, text=True, env=dict(os.environ)
    )
    assert ran.returncode == 0, ran.stderr
    assert np.isfinite(float(ran.stdout))


def test_the_document_names_every_request_of_the_description(client):
    paths = client.get("/api/openapi.json").json()["paths"]
    text = DOCUMENT.read_text().replace("/cases/N", "/cases/{number}")
    login = {"/api/login"}  # of the pages, for a cookie
    assert [path for path in paths if path not in login and path not in text] == []


def test_the_description_needs_the_token_and_no_page_elsewhere(guarded, token):
    answer = guarded.get("/api/openapi.json")
    assert answer.status_code == 401
    answer = guarded.get("/api/openapi.json", headers={"authorization": f"Bearer {token}"})
    assert answer.json()["openapi"].startswith("3.")
    assert answer.json()["info"]["version"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    for page in ("/docs", "/redoc", "/openapi.json"):
        assert guarded.get(page).status_code == 404
