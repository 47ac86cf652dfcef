"""The DICOM node and its peers, killed while images go through: is anything lost or done twice?

    python benchmarks/listener_kills.py --images 1000 --kills 5

A sender gives generated X-rays to `a2bgan listen`, each until it was answered with success, and
once more after that. The results go to a receiver, which refuses one in twenty the first time. Each
of the three is a process of its own, ended with SIGKILL and started again several times. Sender and
receiver write down what was acknowledged, and sync it, before they go on; at the end every
acknowledged UID is matched with its results. Prints a table and writes docs/results/listener.md.
"""

import hashlib
import json
import os
import platform
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ComprehensiveSRStorage,
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from reading_room import free_port
from result_page import script_parser, write_page
from upload_fuzz import train_tiny

NAME = "Phantom^Patient"
REFUSED = 0.05
"""Share of the results that the receiver refuses the first time."""


class Journal:
    """Lines of JSON that are on the disk when `write` returns."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()

    def write(self, line: dict[str, Any]) -> None:
        with self._lock, self._file.open("a") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def read(self) -> list[dict[str, Any]]:
        text = self._file.read_text() if self._file.exists() else ""
        return [json.loads(line) for line in text.splitlines(keepends=True) if line[-1] == "\n"]


def receive(journal: Journal, port: int) -> None:
    """Be the archive: take results until the process is killed."""
    refused = {line["uid"] for line in journal.read() if line["refused"]}

    def store(event: evt.Event) -> int:
        dataset = event.dataset
        uid = str(dataset.SOPInstanceUID)
        refuse = uid not in refused and random.Random(uid).random() < REFUSED
        if refuse:
            refused.add(uid)
        journal.write(
            {
                "uid": uid,
                "refused": refuse,
                "kind": kind_of(dataset),
                "source": source_of(dataset),
                # A result that was made again has the same UID, and other times in it.
                "digest": hashlib.sha256(event.encoded_dataset()).hexdigest(),
                "patient": str(dataset.PatientName),
            }
        )
        return 0xA700 if refuse else 0

    entity = AE("ARCHIVE")
    for kind in (
        SecondaryCaptureImageStorage,
        ParametricMapStorage,
        SegmentationStorage,
        ComprehensiveSRStorage,
    ):
        entity.add_supported_context(kind, ExplicitVRLittleEndian)
    entity.start_server(("127.0.0.1", port), evt_handlers=[(evt.EVT_C_STORE, store)])


def kind_of(result: Dataset) -> str:
    """capture, report, map or regions; both maps and regions may be segmentations."""
    if result.SOPClassUID == SecondaryCaptureImageStorage:
        return "capture"
    if result.SOPClassUID == ComprehensiveSRStorage:
        return "report"
    return "regions" if result.get("SegmentationType") == "BINARY" else "map"


def source_of(result: Dataset) -> str:
    """The UID of the image that a result was made from."""
    if "SourceImageSequence" in result:
        (source,) = result.SourceImageSequence
    elif result.SOPClassUID == ComprehensiveSRStorage:
        (study,) = result.CurrentRequestedProcedureEvidenceSequence
        of_series = study.ReferencedSeriesSequence
        images = [image for series in of_series for image in series.ReferencedSOPSequence]
        (source,) = (
            image for image in images if image.ReferencedSOPClassUID != SegmentationStorage
        )
    else:
        frames = [*result.get("SharedFunctionalGroupsSequence", [])]
        frames += result.get("PerFrameFunctionalGroupsSequence", [])
        (source,) = (
            frame.DerivationImageSequence[0].SourceImageSequence[0]
            for frame in frames
            if "DerivationImageSequence" in frame
        )
    return str(source.ReferencedSOPInstanceUID)


def send(journal: Journal, port: int, count: int) -> None:
    """Send every image until it was answered with success, and once more after that."""
    acknowledged = Counter(line["uid"] for line in journal.read())
    waiting = [i for i in make_images(count) if acknowledged[str(i.SOPInstanceUID)] < 2]
    entity = AE("CT1")
    entity.dimse_timeout = entity.acse_timeout = 10
    entity.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    while waiting:
        association = entity.associate("127.0.0.1", port, ae_title="A2BGAN")
        for image in list(waiting):
            if not association.is_established:
                break
            if association.send_c_store(image).get("Status") != 0:
                continue
            uid = str(image.SOPInstanceUID)
            journal.write({"uid": uid})
            acknowledged[uid] += 1
            if acknowledged[uid] == 2:
                waiting.remove(image)
        if association.is_established:
            association.release()
        time.sleep(0.05)


def make_images(count: int) -> list[Dataset]:
    """Blurred noise as X-rays of 64 x 64, ten a study; the same each time."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = generate_uid(entropy_srcs=["image", str(k)])
        dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(k // 10)])
        dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", str(k // 10)])
        dataset.PatientName, dataset.PatientID = NAME, f"PHANTOM-{k // 10}"
        dataset.Modality, dataset.InstanceNumber = "DX", k % 10 + 1
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.Rows = dataset.Columns = 64
        dataset.BitsAllocated = dataset.BitsStored = 8
        dataset.HighBit, dataset.PixelRepresentation = 7, 0
        dataset.PixelData = coarse.resize((64, 64), Image.Resampling.BICUBIC).tobytes()
        made.append(dataset)
    return made


class Process:
    """A command in a process of its own, which can be killed and started again.

    port: the command is there when this answers; None for one that does not listen.
    """

    def __init__(self, command: list[str], log: Path, port: int | None = None) -> None:
        self.log = log
        self._command = command
        self._port = port

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=self.log.open("a")
        )
        while self._port is not None and self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self._port)) == 0:
                    return
            time.sleep(0.05)
        if self._port is not None:
            raise SystemExit(f"it ended: {self.log.read_text()}")

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, number: int) -> int:
        self._process.send_signal(number)
        try:
            return self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # says where each thread is
            self._process.wait()
            raise SystemExit(f"it does not end: {self.log.read_text()}") from None


@dataclass
class Found:
    """What became of the images; `kills` of each of node, receiver and sender."""

    sent: int
    acknowledged: int
    kills: Counter[str]
    known: int
    missing: int
    twice: int
    strangers: int
    objects: int
    again: int
    refused: int
    named: bool
    stopped: int

    @property
    def failed(self) -> bool:
        lost = self.missing or self.twice or self.strangers or self.sent != self.acknowledged
        return bool(lost or self.stopped) or not self.named


def kill_it(run: Path, count: int, kills: int, folder: Path, seed: int = 0) -> Found:
    """Send images while each process is killed `kills` times; wait until all came out."""
    rng = random.Random(seed)
    node_port, archive_port = free_port(), free_port()
    sent, got = Journal(folder / "sent.jsonl"), Journal(folder / "got.jsonl")
    peer = [sys.executable, __file__]
    listen = ["-X", "faulthandler", "-m", "a2bgan.cli.app", "listen", str(run)]
    options = ["--port", str(node_port), "--send-to", f"ARCHIVE@127.0.0.1:{archive_port}"]
    node = Process([sys.executable, *listen, *options], folder / "node.log", node_port)
    receiver = Process(
        [*peer, "receive", str(folder / "got.jsonl"), str(archive_port)],
        folder / "receiver.log", archive_port,
    )  # fmt: skip
    sender = Process(
        [*peer, "send", str(folder / "sent.jsonl"), str(node_port), str(count)],
        folder / "sender.log",
    )  # fmt: skip
    for process in (receiver, node, sender):
        process.start()
    progress = {
        "node": lambda: len({line["source"] for line in got.read()}) / count,
        "receiver": lambda: len({line["source"] for line in got.read()}) / count,
        "sender": lambda: len(sent.read()) / (2 * count),
    }
    # Spread over the whole, at other moments for each of them.
    due = {
        name: [(k + rng.uniform(0.2, 0.9)) / (kills + 1) for k in range(kills)] for name in progress
    }
    done = Counter[str]()
    queue = run / "dicom-node"
    until = time.monotonic() + 120 + 4 * count
    while time.monotonic() < until and (
        any(due.values())
        or sender.is_alive()
        or any((queue / "received").iterdir())
        or any((queue / "outbox").iterdir())
    ):
        for name, process in (("node", node), ("receiver", receiver), ("sender", sender)):
            if due[name] and progress[name]() >= due[name][0]:
                due[name].pop(0)
                process.end(signal.SIGKILL)
                process.start()
                done[name] += 1
        time.sleep(0.1)
    stopped = node.end(signal.SIGTERM)
    receiver.end(signal.SIGKILL)
    if sender.is_alive():
        sender.end(signal.SIGKILL)
    found = match(count, sent.read(), got.read())
    logs = "".join(process.log.read_text() for process in (node, receiver, sender))
    named = found.pop("patients") == {NAME} and NAME not in logs
    return Found(**found, kills=done, named=named, stopped=stopped)


def match(count: int, sent: list[dict[str, Any]], got: list[dict[str, Any]]) -> dict[str, Any]:
    """Match the UID of each image with its results, one by one: due is one capture, one report,
    which both have the score, and one map; regions where there are any."""
    images = {str(image.SOPInstanceUID) for image in make_images(count)}
    acknowledged = Counter(line["uid"] for line in sent)
    stored = [line for line in got if not line["refused"]]
    versions: dict[str, set[str]] = defaultdict(set)
    results: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for line in stored:
        versions[line["uid"]].add(line["digest"])
        results[line["source"]][line["kind"]].add(line["uid"])
    missing = twice = 0
    for uid in acknowledged:
        kinds = results[uid]
        missing += not (kinds["capture"] and kinds["report"] and kinds["map"])
        uids = [uid for of_kind in kinds.values() for uid in of_kind]
        doubled = any(len(of_kind) > 1 for of_kind in kinds.values())
        twice += doubled or any(len(versions[uid]) > 1 for uid in uids)
    return {
        "sent": len(images),
        "acknowledged": len(images & acknowledged.keys()),
        "known": sum(n - 1 for n in acknowledged.values()),
        "missing": missing,
        "twice": twice,
        "strangers": len(results.keys() - acknowledged.keys()),
        "objects": len(versions),
        "again": len(stored) - len(versions),
        "refused": len(got) - len(stored),
        "patients": {line["patient"] for line in got},
    }


def main() -> None:
    if sys.argv[1:2] == ["receive"]:
        receive(Journal(Path(sys.argv[2])), int(sys.argv[3]))
        return
    if sys.argv[1:2] == ["send"]:
        send(Journal(Path(sys.argv[2])), int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = script_parser(__doc__, "docs/results/listener.md")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5, help="of each of the three processes")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as name:
        folder = Path(name)
        found = kill_it(train_tiny(folder), args.images, args.kills, folder)
    kills = ", ".join(f"{found.kills[name]} {name}" for name in ("node", "receiver", "sender"))
    lines = [
        "# The DICOM node, its sender and its archive, killed",
        "",
        "Is any accepted image lost, or scored twice?",
        "",
        f"`python benchmarks/listener_kills.py --images {args.images} --kills {args.kills}`",
        "",
        f"{os.cpu_count()} CPUs ({platform.machine()}), generated X-rays of 64 x 64, processes on "
        "one machine. Each image is sent until it is accepted, and once more. The receiver refuses "
        "one result in twenty at first. Three results are due for each image: a capture, a report "
        "and a map.",
        "",
        "| | |",
        "| --- | --- |",
        f"| images sent | {found.sent} |",
        f"| images accepted | {found.acknowledged} |",
        f"| SIGKILLs | {kills} |",
        f"| images accepted again because they were known | {found.known} |",
        f"| accepted images without both results (lost) | {found.missing} |",
        f"| accepted images with two results of a kind (scored twice) | {found.twice} |",
        f"| results of images that were never accepted | {found.strangers} |",
        f"| results at the receiver, by UID | {found.objects} |",
        f"| results that arrived again under the same UID | {found.again} |",
        f"| results that were refused at first | {found.refused} |",
        f"| exit code of the node on SIGTERM | {found.stopped} |",
    ]
    print(*lines, sep="\n")
    write_page(args.out, lines)
    if found.failed:
        raise SystemExit("something was lost, done twice or named")


if __name__ == "__main__":
    main()
