"""The DICOM node, killed while it is sent images: is anything lost or done twice?

    python benchmarks/listener_kills.py --images 1000 --kills 5

Generated phantoms are sent to `a2bgan listen` by an archive's rules: each until it was answered
with success, over and over, and once more at the end. Meanwhile the node is ended with SIGKILL and
started again. Its results go to a receiver in this process, which counts them, and which refuses
one in twenty the first time. Prints a table and writes it to docs/results/listener.md.
"""

import argparse
import hashlib
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
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    ParametricMapStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from upload_fuzz import train_tiny

NAME = "Phantom^Patient"


@dataclass
class Receiver:
    """Counts results: by their own UID, and by the UID of their source."""

    refuses: float = 0.05
    arrivals: Counter[str] = field(default_factory=Counter)
    versions: dict[str, set[str]] = field(default_factory=dict)
    of_source: dict[str, set[str]] = field(default_factory=dict)
    patients: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)
    port: int = 0

    def start(self) -> None:
        entity = AE("ARCHIVE")
        for kind in (SecondaryCaptureImageStorage, ParametricMapStorage, SegmentationStorage):
            entity.add_supported_context(kind, ExplicitVRLittleEndian)
        server = entity.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )
        self.port = server.server_address[1]

    def _store(self, event: evt.Event) -> int:
        dataset = event.dataset
        uid = str(dataset.SOPInstanceUID)
        if uid not in self.refused and random.Random(uid).random() < self.refuses:
            self.refused.add(uid)
            return 0xA700
        self.arrivals[uid] += 1
        # A result that was made again has the same UID, and other times in it.
        digest = hashlib.sha256(event.encoded_dataset()).hexdigest()
        self.versions.setdefault(uid, set()).add(digest)
        if "SourceImageSequence" in dataset:
            (source,) = dataset.SourceImageSequence
        else:
            frames = dataset.get("SharedFunctionalGroupsSequence") or []
            frames = [*frames, *dataset.get("PerFrameFunctionalGroupsSequence", [])]
            (source,) = (
                frame.DerivationImageSequence[0].SourceImageSequence[0]
                for frame in frames
                if "DerivationImageSequence" in frame
            )
        self.of_source.setdefault(str(source.ReferencedSOPInstanceUID), set()).add(uid)
        self.patients.add(str(dataset.PatientName))
        return 0


class Listener:
    """`a2bgan listen` in a process of its own, which can be killed and started again."""

    def __init__(self, run: Path, port: int, send_to: int, log: Path) -> None:
        self.port, self.log = port, log
        self._command = [
            sys.executable, "-X", "faulthandler", "-m", "a2bgan.cli.app", "listen", str(run),
            "--port", str(port), "--send-to", f"ARCHIVE@127.0.0.1:{send_to}",
        ]  # fmt: skip
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.DEVNULL, stderr=self.log.open("a")
        )
        while self._process.poll() is None:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        raise SystemExit(f"the node ended: {self.log.read_text()}")

    def end(self, number: int) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        try:
            return self._process.wait(120)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # says where each thread is
            self._process.wait()
            raise SystemExit(f"the node does not end: {self.log.read_text()}") from None


class Archive(threading.Thread):
    """Sends every image until it was answered with success, and once more after that."""

    def __init__(self, images: list[Dataset], port: int) -> None:
        super().__init__(daemon=True)
        self.acknowledged: Counter[str] = Counter()
        self._waiting = list(images)
        self._port = port
        self._entity = AE("CT1")
        self._entity.dimse_timeout = self._entity.acse_timeout = 10
        self._entity.add_requested_context(
            DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian
        )

    def run(self) -> None:
        while self._waiting:
            association = self._entity.associate("127.0.0.1", self._port, ae_title="A2BGAN")
            for image in list(self._waiting):
                if not association.is_established:
                    break
                if association.send_c_store(image).get("Status") != 0:
                    continue
                uid = str(image.SOPInstanceUID)
                self.acknowledged[uid] += 1
                if self.acknowledged[uid] == 2:
                    self._waiting.remove(image)
            if association.is_established:
                association.release()
            time.sleep(0.05)


def make_images(count: int) -> list[Dataset]:
    """Blurred noise as X-rays of 64 x 64, ten a study."""
    rng = np.random.default_rng(0)
    made = []
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
        dataset = Dataset()
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
        dataset.SOPInstanceUID = generate_uid()
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


@dataclass
class Found:
    """What became of the images."""

    images: int
    kills: int
    known: int
    missing: int
    twice: int
    objects: int
    again: int
    refused: int
    named: bool
    seconds: float
    stopped: int

    @property
    def failed(self) -> bool:
        return bool(self.missing or self.twice or self.stopped) or not self.named


def kill_it(run: Path, count: int, kills: int, folder: Path, seed: int = 0) -> Found:
    """Send images while the node is killed; wait until everything came out."""
    rng = random.Random(seed)
    receiver = Receiver()
    receiver.start()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    listener = Listener(run, port, receiver.port, folder / "listener.log")
    images = make_images(count)
    began = time.monotonic()
    listener.start()
    archive = Archive(images, port)
    archive.start()
    for k in range(kills):
        # Spread over the whole, with some time apart.
        while len(receiver.of_source) < count * (k + 0.5) / (kills + 1):
            time.sleep(0.02)
        time.sleep(rng.random())
        listener.end(signal.SIGKILL)
        listener.start()
    until = time.monotonic() + 60 + 3 * count
    queue = run / "dicom-node"
    while time.monotonic() < until and (
        archive.is_alive()
        or any((queue / "received").iterdir())
        or any((queue / "outbox").iterdir())
    ):
        time.sleep(0.1)
    seconds = time.monotonic() - began
    stopped = listener.end(signal.SIGTERM)
    per_image = [len(receiver.of_source.get(str(i.SOPInstanceUID), ())) for i in images]
    return Found(
        images=len(archive.acknowledged), kills=kills,
        known=sum(n - 1 for n in archive.acknowledged.values()),
        missing=sum(n < 2 for n in per_image),
        twice=sum(n > 2 for n in per_image) + sum(len(v) > 1 for v in receiver.versions.values()),
        objects=len(receiver.arrivals), again=sum(n - 1 for n in receiver.arrivals.values()),
        refused=len(receiver.refused),
        named=receiver.patients == {NAME} and NAME not in listener.log.read_text(),
        seconds=seconds, stopped=stopped,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("docs/results/listener.md"))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as name:
        folder = Path(name)
        found = kill_it(train_tiny(folder), args.images, args.kills, folder)
    lines = [
        "# The DICOM node, killed",
        "",
        f"`python benchmarks/listener_kills.py --images {args.images} --kills {args.kills}`",
        "",
        f"{os.cpu_count()} CPUs ({platform.machine()}), generated X-rays of 64 x 64, a tiny "
        "A2B-GAN; sender, node and receiver on this machine. Every image is sent until it was "
        "answered with success, and once more; the receiver refuses one result in twenty the "
        "first time. Of each image two results are due: capture and map.",
        "",
        "| | |",
        "| --- | --- |",
        f"| images acknowledged | {found.images} |",
        f"| SIGKILLs meanwhile | {found.kills} |",
        f"| sent again and answered as known | {found.known} |",
        f"| acknowledged images without both results | {found.missing} |",
        "| images with more than two results, or another version of one (scored twice) "
        f"| {found.twice} |",
        f"| results at the receiver, by UID | {found.objects} |",
        f"| results that arrived again under the same UID (killed before the answer was noted) "
        f"| {found.again} |",
        f"| results that were refused at first | {found.refused} |",
        f"| exit code on SIGTERM | {found.stopped} |",
        f"| seconds, with the starts | {found.seconds:.0f} |",
    ]
    print(*lines, sep="\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text("\n".join(lines) + "\n")
    if found.failed:
        raise SystemExit("something was lost, done twice or named")


if __name__ == "__main__":
    main()
