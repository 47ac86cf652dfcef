"""DICOMweb: images from a server and results to it; a small server of its own, and Orthanc."""

import base64
import json
import re
import shutil
import socket
import ssl
import stat
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import BasicTextSRStorage, generate_uid

pytest.importorskip("dicomweb_client")
import a2bgan.serving.dicom_web as dicom_web

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
KEYWORDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality")
SECRETS = (b"Doe", b"MRN-0815")


class Server(ThreadingHTTPServer):
    """QIDO-RS, WADO-RS and STOW-RS of a list of objects, with faults to choose.

    answer: called with the path of each request; a status is answered at once.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, bytes] = {}
        self.sent: dict[str, bytes] = {}  # in place of the object
        self.asked: list[str] = []
        self.authorizations: list[str] = []
        self.answer: Callable[[str], int | None] = lambda path: None
        self.refused: set[str] = set()
        self.largest_page = 1000
        self.url = f"http://127.0.0.1:{self.server_address[1]}/dicom-web"

    def headers_of(self, level: str, wanted: dict[str, str]) -> list[dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for content in self.objects.values():
            header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
            if all(str(header.get(k)) == v for k, v in wanted.items() if k in KEYWORDS):
                part = Dataset()
                for keyword in KEYWORDS:
                    part[keyword] = header[keyword]
                uid = header.SOPInstanceUID if level == "instances" else header.SeriesInstanceUID
                found[str(uid)] = part.to_json_dict()
        return list(found.values())


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def say(self, status: int, kind: str = "application/json", body: bytes = b"[]") -> None:
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://127.0.0.1:9/")
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def begun(self) -> bool:
        self.server.asked.append(self.path)
        self.server.authorizations.append(self.headers.get("Authorization", ""))
        status = self.server.answer(self.path)
        if status is not None:
            self.say(status)
        return status is None

    def do_GET(self) -> None:
        if not self.begun():
            return
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        place = parts.path.removeprefix("/dicom-web/").split("/")
        uids = dict(zip(("StudyInstanceUID", "SeriesInstanceUID"), place[1::2], strict=False))
        if place[-1] in ("series", "instances"):
            found = self.server.headers_of(place[-1], {**query, **uids})
            start = int(query.get("offset", 0))
            stop = start + min(int(query.get("limit", 1000)), self.server.largest_page)
            self.say(200, "application/dicom+json", json.dumps(found[start:stop]).encode())
            return
        content = self.server.sent.get(place[-1], self.server.objects[place[-1]])
        body = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n--x--\r\n"
        self.say(200, 'multipart/related; type="application/dicom"; boundary=x', body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.begun():
            return
        boundary = re.search(r'boundary="?([^";]+)', self.headers["Content-Type"])[1]
        part = body.split(b"--" + boundary.encode())[1]
        content = part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
        header = pydicom.dcmread(BytesIO(content), stop_before_pixels=True)
        item, said = Dataset(), Dataset()
        item.ReferencedSOPClassUID = header.SOPClassUID
        item.ReferencedSOPInstanceUID = header.SOPInstanceUID
        if header.SOPInstanceUID in self.server.refused:
            said.FailedSOPSequence = [item]
        else:
            said.ReferencedSOPSequence = [item]
            self.server.objects[str(header.SOPInstanceUID)] = content
        self.say(200, "application/dicom+json", said.to_json().encode())


@pytest.fixture
def server(write_dicom: Callable[..., Path], tmp_path: Path) -> Iterator[Server]:
    """With 5 X-rays of one series, 1 CT slice of another study, and a report."""
    with Server() as server:
        rng = np.random.default_rng(0)
        for k in range(7):
            elements: dict[str, Any] = {"InstanceNumber": k}
            if k == 5:
                elements |= {"Modality": "CT", "StudyInstanceUID": generate_uid()}
            if k >= 5:
                elements["SeriesInstanceUID"] = generate_uid()
            if k == 6:
                elements |= {"Modality": "SR", "SOPClassUID": BasicTextSRStorage}
            pixels = rng.integers(0, 255, (20, 16), dtype=np.uint8)
            path = write_dicom(tmp_path / "sent.dcm", pixels, **elements)
            uid = str(pydicom.dcmread(path).SOPInstanceUID)
            server.objects[uid] = path.read_bytes()
        path.unlink()
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def _no_pauses_and_no_proxy(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dicom_web, "PAUSE", 0.02)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def all_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.dcm"))


def test_images_are_fetched_whole_under_pseudonyms(server, a2bgan, tmp_path):
    out = tmp_path / "out"
    result = a2bgan("dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", out)
    assert result.exit_code == 0, result.output
    assert "5 images fetched, 0 there before" in result.output
    files = all_files(out)
    assert len(files) == 5 and len({file.parent for file in files}) == 1
    for file in files:
        assert all(
            re.fullmatch(r"PSN-[0-9A-F]{16}", name) for name in (file.parent.name, file.stem)
        )
        got = pydicom.dcmread(file)
        assert got == pydicom.dcmread(BytesIO(server.objects[str(got.SOPInstanceUID)]))
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(out.stat().st_mode) == 0o700


def test_by_study_and_by_series(server, a2bgan, tmp_path):
    of = {str(o.Modality): o for o in map(pydicom.dcmread, map(BytesIO, server.objects.values()))}
    both = ("--study", of["CT"].StudyInstanceUID, "--study", of["DX"].StudyInstanceUID)
    result = a2bgan("dicomweb", "fetch", server.url, *both, "--out", tmp_path / "a")
    assert "6 images fetched" in result.output and "1 objects without an image" in result.output
    uid = of["CT"].SeriesInstanceUID
    a2bgan("dicomweb", "fetch", server.url, "--series", uid, "--out", tmp_path / "b")
    (file,) = all_files(tmp_path / "b")
    assert pydicom.dcmread(file).SOPInstanceUID == of["CT"].SOPInstanceUID


def test_results_come_page_by_page(server, a2bgan, tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_web, "PAGE", 2)
    server.largest_page = 2
    result = a2bgan(
        "dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", tmp_path / "o"
    )
    assert "5 images fetched" in result.output
    said = a2bgan(
        "dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", tmp_path / "p",
        "--images", 4,
    )  # fmt: skip
    assert "more than 4 images" in str(said.exception) and not (tmp_path / "p").exists()


def test_a_fetch_that_was_stopped_goes_on(server, a2bgan, says, tmp_path):
    fetch = ("dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", tmp_path / "out")
    given = 0

    def dies(path: str) -> int | None:
        nonlocal given
        given += re.search(r"/instances/[0-9.]+$", path) is not None
        return 503 if given > 2 else None

    server.answer = dies
    line = says(a2bgan(*fetch))
    assert "is busy (HTTP 503); the same command goes on" in line
    assert not [secret for secret in SECRETS if secret.decode() in line]
    assert len(all_files(tmp_path / "out")) == 2
    server.answer = lambda path: None
    server.asked.clear()
    assert "3 images fetched, 2 there before" in a2bgan(*fetch).output
    assert sum("/instances/" in path for path in server.asked) == 3
    assert not list((tmp_path / "out").rglob("*partial*"))


def test_one_bad_image_does_not_hold_up_the_others(server, a2bgan, tmp_path):
    first, second, third, *_ = server.objects
    server.sent = {first: b"no DICOM", second: server.objects[third]}
    server.answer = lambda path: 404 if path.endswith(third) else None
    result = a2bgan(
        "dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", tmp_path / "out"
    )  # fmt: skip
    assert result.exit_code == 1
    for reason in ("what came is no DICOM file", "another image came", "refused (HTTP 404)"):
        assert reason in result.output
    assert len(all_files(tmp_path / "out")) == 2


def test_an_answer_has_a_largest_size(server, tmp_path):
    limits = dicom_web.Limits(object_bytes=1500, seconds=5)
    client = dicom_web.connect(server.url, dicom_web.Limits(seconds=5))
    images, _ = dicom_web.find_images(client, limits, query={"Modality": "CT"})
    small = dicom_web.connect(server.url, dicom_web.Limits(object_bytes=500, seconds=5))
    result = dicom_web.fetch(small, images, tmp_path / "out")
    assert [reason for _, reason in result.failures] == ["more than 0.000476837 MiB; raise --mib"]
    assert not all_files(tmp_path / "out")


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (401, "does not let you in (HTTP 401); set A2BGAN_DICOMWEB_USER"),
        (302, "redirects elsewhere"),
        (404, "refused the request (HTTP 404); is it the address of DICOMweb?"),
        (500, "refused the request (HTTP 500)"),
    ],
)
def test_what_a_server_answers_is_said_in_a_line(server, a2bgan, says, tmp_path, status, said):
    server.answer = lambda path: status
    fetch = ("dicomweb", "fetch", server.url, "--query", "Modality=DX", "--out", tmp_path / "out")
    assert said in says(a2bgan(*fetch))


def test_wrong_options_and_nobody_there(a2bgan, says, tmp_path):
    def line(url: str, *options: object) -> str:
        return says(a2bgan("dicomweb", "fetch", url, "--out", tmp_path / "out", *options))

    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{closed.getsockname()[1]}"
        assert "cannot be reached" in line(nobody, "--query", "Modality=DX")
    wanted = ("--query", "Modality=DX")
    assert "give --study, --series or --query" in line(nobody)
    assert "give KEYWORD=VALUE" in line(nobody, "--query", "Modality")
    assert "not a UID" in line(nobody, "--study", "../../etc")
    assert "not encrypted" in line("http://archive.example.org/dicom-web", *wanted)
    assert "not an address" in line("archive.example.org", *wanted)
    secret = line("https://me:a-secret@archive.example.org", *wanted)
    assert "credentials do not belong in the address" in secret and "a-secret" not in secret
    assert not (tmp_path / "out").exists()


def test_certificates_are_verified(a2bgan, says, tmp_path, own_certificate):
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(own_certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever).start()
        url = f"https://127.0.0.1:{server.server_address[1]}"
        try:
            fetch = ("dicomweb", "fetch", url, "--study", "1.2", "--out", tmp_path / "out")
            assert "its certificate cannot be verified" in says(a2bgan(*fetch))
        finally:
            server.shutdown()


@pytest.fixture
def own_certificate(tmp_path: Path) -> Path:
    """A PEM file of a key and a certificate that nobody vouches for."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    made = [
        "openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
        "-subj", "/CN=127.0.0.1", "-keyout", tmp_path / "key.pem", "-out", tmp_path / "cert.pem",
    ]  # fmt: skip
    subprocess.run(made, check=True, capture_output=True)
    both = tmp_path / "both.pem"
    both.write_bytes((tmp_path / "key.pem").read_bytes() + (tmp_path / "cert.pem").read_bytes())
    return both


def test_credentials_come_from_the_environment_or_a_netrc(
    server, a2bgan, tmp_path, monkeypatch: pytest.MonkeyPatch
):
    fetch = ("dicomweb", "fetch", server.url, "--query", "Modality=CT", "--out", tmp_path / "out")

    def sent() -> str:
        server.authorizations.clear()
        assert a2bgan(*fetch).exit_code == 0
        (only,) = set(server.authorizations)
        return only

    def basic(text: str) -> str:
        return f"Basic {base64.b64encode(text.encode()).decode()}"

    assert sent() == ""
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert sent() == basic("me:secret")
    monkeypatch.setenv(dicom_web.USER, "jörg")
    monkeypatch.setenv(dicom_web.PASSWORD, "other")
    assert sent() == basic("jörg:other")
    monkeypatch.setenv(dicom_web.TOKEN, "abc")
    assert sent() == "Bearer abc"


def test_results_are_stored_once(server, a2bgan, says, write_dicom, tmp_path):
    folder = tmp_path / "results"
    rng = np.random.default_rng(1)
    files = [
        write_dicom(folder / f"study-0001/{k}.dcm", rng.integers(0, 255, (20, 16), dtype=np.uint8))
        for k in range(3)
    ]
    uids = [str(pydicom.dcmread(file).SOPInstanceUID) for file in files]
    server.refused = {uids[1]}
    result = a2bgan("dicomweb", "store", server.url, folder)
    assert result.exit_code == 1 and "2 results stored, 0 there before" in result.output
    assert "the server did not keep it" in result.output
    assert server.objects[uids[0]] == files[0].read_bytes()
    server.refused = set()
    result = a2bgan("dicomweb", "store", server.url, folder)
    assert result.exit_code == 0 and "1 results stored, 2 there before" in result.output
    server.answer = lambda path: 500
    line = says(a2bgan("dicomweb", "store", server.url.replace("dicom-web", "other"), folder))
    assert "HTTP 500" in line
    (tmp_path / "empty").mkdir()
    assert "no .dcm files" in says(a2bgan("dicomweb", "store", server.url, tmp_path / "empty"))


@pytest.mark.timeout(240)
@pytest.mark.skipif(
    shutil.which("Orthanc") is None or not PLUGIN.exists(),
    reason="Orthanc or its DICOMweb plugin is not installed",
)
def test_orthanc_gives_images_and_takes_results(run, a2bgan, write_dicom, make_texture, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (tmp_path / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(tmp_path / "storage"),
                "IndexDirectory": str(tmp_path / "index"),
                "HttpPort": port,
                "DicomServerEnabled": False,
                "Plugins": [str(PLUGIN)],
                "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
            }
        )
    )

    def ask(path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", data) as answer:
            return json.load(answer)

    process = subprocess.Popen(
        ["Orthanc", str(tmp_path / "orthanc.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            try:
                if ask("system"):
                    break
            except OSError:
                time.sleep(0.1)
        for k in range(3):
            path = write_dicom(tmp_path / "sent" / f"{k}.dcm", make_texture(k), InstanceNumber=k)
            ask("instances", path.read_bytes())
        url = f"http://127.0.0.1:{port}/dicom-web"
        study = pydicom.dcmread(path).StudyInstanceUID
        for options in (("--study", study), ("--query", "Modality=DX")):
            out = tmp_path / options[0]
            result = a2bgan("dicomweb", "fetch", url, *options, "--out", out)
            assert result.exit_code == 0, result.output or result.exception
            assert len(all_files(out)) == 3
        results = tmp_path / "results"
        said = a2bgan(
            "predict", run, out, "--out", tmp_path / "scores", "--dicom-out", results,
            "--keep-identifiers", "--no-pictures",
        )  # fmt: skip
        assert said.exit_code == 0, said.output
        result = a2bgan("dicomweb", "store", url, results)
        assert result.exit_code == 0, result.output
        assert "9 results stored" in result.output
        assert ask("statistics")["CountInstances"] == 12
        assert len(ask("studies")) == 1 and len(ask("patients")) == 1
    finally:
        process.terminate()
        process.wait()
