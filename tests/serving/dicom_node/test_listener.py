"""The DICOM node from end to end: received, scored, sent; before real peers; killed."""

import importlib.util
import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

import a2bgan.serving.dicom_node.sender as dicom_sender
from a2bgan.detection.trained_model import load_trained
from a2bgan.serving.dicom_node.queue import Queue
from a2bgan.serving.dicom_node.scorer import Scorer
from a2bgan.serving.dicom_node.sender import Receiver, Sender
from a2bgan.training.run_folder import RunFolder

BENCHMARK = Path(__file__).resolve().parents[3] / "benchmarks" / "listener_kills.py"
SECRETS = ("Doe", "MRN-0815", "19700101", "ACC-17")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def eventually(true: Callable[[], object], seconds: float = 60) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if true():
            return True
        time.sleep(0.05)
    return False


class Archive:
    """A receiver in this process; `answer` decides on each result."""

    def __init__(self, answer: Callable[[Dataset], int] = lambda _: 0) -> None:
        self.got: list[Dataset] = []
        self.answer = answer
        self.port = 0

    @contextmanager
    def open(self) -> Iterator[None]:
        entity = AE("ARCHIVE")
        entity.add_supported_context(SecondaryCaptureImageStorage)
        entity.add_supported_context(SegmentationStorage)
        entity.add_supported_context(ComprehensiveSRStorage)
        server = entity.start_server(
            ("127.0.0.1", self.port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = server.server_address[1]
        yield
        server.shutdown()

    def _store(self, event: evt.Event) -> int:
        status = self.answer(event.dataset)
        if status == 0:
            self.got.append(event.dataset)
        return status


@pytest.fixture
def queue(tmp_path: Path) -> Iterator[Queue]:
    (tmp_path / "queue").mkdir()
    queue = Queue(tmp_path / "queue")
    yield queue
    queue.close()


@pytest.fixture
def accept(queue: Queue, write_dicom: Callable[..., Path], tmp_path: Path) -> Callable[..., str]:
    """A function that puts an X-ray into the queue and says its SOP Instance UID."""

    def put(number: int, cut: int | None = None, **elements: Any) -> str:
        pixels = np.random.default_rng(number).integers(0, 255, (64, 48), dtype=np.uint8)
        path = write_dicom(tmp_path / "sent.dcm", pixels, InstanceNumber=number, **elements)
        uid = str(pydicom.dcmread(path).SOPInstanceUID)
        with queue.incoming(path.read_bytes()[:cut]) as file:
            assert queue.keep(file, queue.key(uid))
        return uid

    return put


@pytest.fixture
def threads(queue: Queue, run: Path) -> Iterator[Callable[..., list[str]]]:
    """A function that starts scorer and, with a receiver, sender; returns what they say."""
    stop = threading.Event()
    started: list[threading.Thread] = []

    def start(send_to: str | None = None, seconds: float = 5) -> list[str]:
        log: list[str] = []
        trained = load_trained(RunFolder.open(run))
        started.append(
            Scorer(
                queue, trained, send=send_to is not None, keep_identifiers=False, stop=stop,
                log=log.append,
            )
        )  # fmt: skip
        if send_to is not None:
            started.append(
                Sender(
                    queue, Receiver.parse(send_to), aet="A2BGAN", seconds=seconds, stop=stop,
                    log=log.append,
                )
            )  # fmt: skip
        for thread in started:
            thread.start()
        return log

    yield start
    stop.set()
    for thread in started:
        thread.join(30)
        assert not thread.is_alive()


def test_without_an_archive_results_are_kept_under_pseudonyms(queue, accept, threads):
    uid = accept(3)
    damaged = accept(4, cut=-1000)
    log = threads()
    kept = queue.results / queue.key(uid)
    assert eventually(lambda: kept.is_dir() and not any(queue.received.iterdir()))
    files = sorted(kept.iterdir())
    assert [file.name for file in files] == ["capture.dcm", "map.dcm", "report.dcm"]
    for file in files:
        made = pydicom.dcmread(file)
        assert made.PatientID.startswith("PSN-") and made.InstanceNumber == 3
        assert uid.encode() in file.read_bytes()
        assert not [word for word in SECRETS if word.encode() in file.read_bytes()]
    # What cannot be scored was acknowledged, so it is put aside, not deleted.
    key = queue.key(damaged)
    assert (queue.unusable / f"{key}.dcm").is_file()
    assert eventually(lambda: log)  # which comes after the file is moved
    (line,) = log
    assert line.startswith("an image cannot be scored: truncated file")
    assert line.endswith(f"-> unusable/{key}.dcm")


def test_an_archive_that_is_away_refuses_and_stalls(queue, accept, threads, monkeypatch):
    monkeypatch.setattr(dicom_sender, "FIRST_PAUSE", 0.2)
    refused: list[str] = []

    def refuse_once(dataset: Dataset) -> int:
        """The results of the first image, once each."""
        if dataset.InstanceNumber != 1 or dataset.SOPInstanceUID in refused:
            return 0
        refused.append(dataset.SOPInstanceUID)
        return 0xA700

    archive = Archive(refuse_once)
    uids = [accept(number) for number in (1, 2)]
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        archive.port = silent.getsockname()[1]
        log = threads(f"ARCHIVE@127.0.0.1:{archive.port}", seconds=1)
        assert eventually(lambda: any("cannot be reached" in line for line in log))
        assert eventually(lambda: len(list(queue.outbox.iterdir())) == 2)  # scored all the same
    with archive.open():
        assert eventually(lambda: not any(queue.outbox.iterdir()))
        assert len(archive.got) == 6 and len(refused) == 3
        assert len({made.SOPInstanceUID for made in archive.got}) == 6
        # Filed with their study: patient and study are the source's.
        for made in archive.got:
            assert (made.PatientID, str(made.PatientName)) == ("MRN-0815", "Doe^Jane")
            assert (made.AccessionNumber, made.StudyDate) == ("ACC-17", "20200102")
        assert len({made.SeriesInstanceUID for made in archive.got}) == 3
    assert any("refused a result (status 0xA700)" in line for line in log)
    assert not [word for word in (*SECRETS, *uids) if word in "\n".join(log)]
    assert all(queue.knows(queue.key(uid)) for uid in uids)


@pytest.mark.parametrize("fault", ["aborts", "silent", "unreadable"])
def test_one_result_that_cannot_be_sent_does_not_hold_up_the_others(
    queue, accept, threads, monkeypatch, fault
):
    monkeypatch.setattr(dicom_sender, "FIRST_PAUSE", 0.2)
    hold = threading.Event()
    archive = Archive()

    def store(event: evt.Event) -> int:
        if event.dataset.InstanceNumber == 1 and fault == "aborts":
            event.assoc.abort()
        elif event.dataset.InstanceNumber == 1 and fault == "silent":
            hold.wait(30)
        return Archive._store(archive, event)

    monkeypatch.setattr(archive, "_store", store)
    uids = [accept(number) for number in (1, 2, 3)]
    places = [queue.outbox / queue.key(uid) for uid in uids]
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        archive.port = closed.getsockname()[1]
        log = threads(f"ARCHIVE@127.0.0.1:{archive.port}", seconds=1)
        assert eventually(lambda: all(place.is_dir() for place in places))
    if fault == "unreadable":
        (places[0] / "capture.dcm").write_bytes(b"")
    with archive.open():
        assert eventually(lambda: not places[1].exists() and not places[2].exists(), 30)
        assert places[0].is_dir()  # kept, and tried again
        late = queue.outbox / queue.key(accept(4))
        assert eventually(lambda: 4 in {made.InstanceNumber for made in archive.got}, 30)
        assert eventually(lambda: not late.exists())
        hold.set()
    said = {"aborts": "did not answer", "silent": "did not answer", "unreadable": "cannot be read"}
    assert any(said[fault] in line for line in log)
    assert not [word for word in (*SECRETS, *uids) if word in "\n".join(log)]


class Process:
    """`a2bgan listen` in a process of its own."""

    def __init__(self, run: Path, folder: Path, *options: str) -> None:
        self.port, self.log = free_port(), folder / "listener.log"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "a2bgan.cli.app", "listen", str(run), "--port", str(self.port),
             "--queue", str(folder / "queue"), *options],
            stdout=subprocess.DEVNULL, stderr=self.log.open("w"),
        )  # fmt: skip

    def __enter__(self) -> "Process":
        def answers() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        assert eventually(answers, 120)
        return self

    def __exit__(self, *exception: object) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()


@contextmanager
def orthanc(folder: Path, dicom: int, node: int) -> Iterator[Callable[..., Any]]:
    """An Orthanc with the node among its modalities; a way to ask it."""
    http = free_port()
    (folder / "orthanc.json").write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "storage"),
                "IndexDirectory": str(folder / "index"),
                "HttpPort": http,
                "DicomPort": dicom,
                "DicomAet": "ORTHANC",
                "Plugins": [],
                "RemoteAccessAllowed": False,
                "AuthenticationEnabled": False,
                "DicomAlwaysAllowStore": True,
                "DicomModalities": {"a2bgan": ["A2BGAN", "127.0.0.1", node]},
            }
        )
    )  # fmt: skip

    def ask(path: str, data: bytes | None = None) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{http}/{path}", data) as answer:
            return json.load(answer)

    def answers() -> bool:
        try:
            return bool(ask("system"))
        except OSError:
            return False

    process = subprocess.Popen(
        ["Orthanc", str(folder / "orthanc.json")],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        assert eventually(answers)
        yield ask
    finally:
        process.terminate()
        process.wait()


@pytest.mark.timeout(240)
@pytest.mark.skipif(
    not all(map(shutil.which, ("Orthanc", "echoscu", "storescu"))),
    reason="Orthanc or DCMTK (echoscu, storescu) is not installed",
)
def test_orthanc_routes_a_study_and_gets_the_results(run, write_dicom, make_texture, tmp_path):
    files = [
        write_dicom(tmp_path / f"{k}.dcm", make_texture(k), InstanceNumber=k + 1) for k in range(3)
    ]
    archive = free_port()
    with (
        Process(run, tmp_path, "--send-to", f"ORTHANC@127.0.0.1:{archive}",
                "--allow-ae", "ORTHANC", "--allow-ae", "CT1", "--timeout", "5") as node,
        orthanc(tmp_path, archive, node.port) as ask,
    ):  # fmt: skip
        to_node = ["-aec", "A2BGAN", "127.0.0.1", str(node.port)]
        echo = ["echoscu", "-aet", "CT1", *to_node]
        assert subprocess.run(echo, capture_output=True).returncode == 0
        echo[2] = "STRANGER"
        said = subprocess.run(echo, capture_output=True, text=True)
        assert said.returncode == 1 and "Calling AE Title Not Recognized" in said.stderr
        stored = subprocess.run(
            ["storescu", "-aet", "CT1", *to_node, str(files[0])], capture_output=True, text=True
        )
        assert stored.returncode == 0, stored.stderr
        for file in files:
            ask("instances", file.read_bytes())
        (study,) = ask("studies")
        for _ in range(2):  # again: nothing is scored again
            assert ask("modalities/a2bgan/store", study.encode())["FailedInstancesCount"] == 0
        assert eventually(lambda: ask("statistics")["CountInstances"] == 12, 120)
        # Filed with the study, in series of their own.
        assert ask("studies") == [study] and len(ask("series")) == 4
        # The archive sends all of it back, results too: nothing goes round in circles.
        assert ask("modalities/a2bgan/store", study.encode())["FailedInstancesCount"] == 0
        assert not any((tmp_path / "queue" / "received").iterdir())
        assert ask("statistics")["CountInstances"] == 12
    log = node.log.read_text()
    # Orthanc may send them in several associations.
    assert sum(map(int, re.findall(r"(\d+) without an image to score", log))) == 9
    assert "3 known already" in log
    assert "STRANGER at 127.0.0.1: 1 refused (its AE title is not allowed" in log
    assert not [word for word in SECRETS if word in log]


@pytest.mark.timeout(280)
def test_killed_while_it_works_it_loses_nothing(run, tmp_path):
    """A small share of what benchmarks/listener_kills.py does."""
    sys.path.insert(0, str(BENCHMARK.parent))
    spec = importlib.util.spec_from_file_location("listener_kills", BENCHMARK)
    benchmark = importlib.util.module_from_spec(spec)
    sys.modules["listener_kills"] = benchmark
    spec.loader.exec_module(benchmark)
    found = benchmark.kill_it(shutil.copytree(run, tmp_path / "run"), 12, 1, tmp_path)
    assert not found.failed, found
    assert set(found.kills.values()) == {1}
    assert (found.acknowledged, found.objects) == (12, 36)
    assert found.known >= 12
