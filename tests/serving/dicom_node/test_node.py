"""A DICOM node before peers that are wrong, broken, slow or hostile."""

import shutil
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    BasicTextSRStorage,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)
from pynetdicom import AE, _config
from pynetdicom.sop_class import Verification

import a2bgan.serving.dicom_node.queue as dicom_queue
from a2bgan.data.formats.dicom.decoding import readable_transfer_syntaxes
from a2bgan.data.formats.reading import read_image
from a2bgan.serving.dicom_node.node import Allowed, Limits, Node
from a2bgan.serving.dicom_node.queue import Queue

SECRETS = ("Doe", "MRN", "19700101", "ACC-17", "1.2.3.4.5")


class Listening:
    """A node in this process, and what it said."""

    def __init__(self, node: Node, queue: Queue, port: int, log: list[str]) -> None:
        self.node, self.queue, self.port, self.log = node, queue, port, log

    def said(self, part: str) -> bool:
        """Whether it says so within some seconds."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            if any(part in line for line in self.log):
                return True
            time.sleep(0.02)
        return False

    def send(
        self,
        *files: Path,
        calling: str = "CT1",
        called: str = "A2BGAN",
        syntax: str = ExplicitVRLittleEndian,
    ) -> list[int | None]:
        """The statuses of C-STOREs in one association; [] where there is none."""
        entity = AE(calling)
        entity.dimse_timeout = 5
        for kind in (DigitalXRayImageStorageForPresentation, BasicTextSRStorage):
            entity.add_requested_context(kind, [syntax])
        association = entity.associate("127.0.0.1", self.port, ae_title=called)
        found = []
        for file in files if association.is_established else ():
            if not association.is_established:
                found.append(None)
                continue
            found.append(association.send_c_store(file).get("Status"))
        if association.is_established:
            association.release()
        return found

    def answers(self) -> bool:
        entity = AE("ECHO")
        entity.add_requested_context(Verification)
        association = entity.associate("127.0.0.1", self.port, ae_title="A2BGAN")
        status = association.send_c_echo().get("Status") if association.is_established else None
        association.release()
        return status == 0


@pytest.fixture(autouse=True)
def _as_it_is_on_the_wire(monkeypatch: pytest.MonkeyPatch) -> None:
    """Peers send files byte by byte, whatever is in them."""
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)


@pytest.fixture
def listen(tmp_path: Path) -> Iterator[Callable[..., Listening]]:
    with ExitStack() as stack:

        def start(allowed: Allowed = Allowed(), **limits: float) -> Listening:  # noqa: B008
            log: list[str] = []
            folder = tmp_path / "queue"
            folder.mkdir()
            queue = Queue(folder)
            stack.callback(queue.close)
            node = Node(
                queue, aet="A2BGAN", allowed=allowed, limits=Limits(**limits), log=log.append
            )
            port = stack.enter_context(node.listening("127.0.0.1", 0))
            return Listening(node, queue, port, log)

        yield start


@pytest.fixture
def xray(tmp_path: Path, write_dicom: Callable[..., Path]) -> Callable[..., Path]:
    """A function that writes an X-ray of its own UID."""

    def write(number: int = 1, **elements: object) -> Path:
        pixels = np.random.default_rng(number).integers(0, 255, (64, 48), dtype=np.uint8)
        elements = {"SOPInstanceUID": f"1.2.3.4.5.{number}", **elements}
        path = write_dicom(tmp_path / "sent" / f"{number}.dcm", pixels, **elements)
        return with_uid(path, str(elements["SOPInstanceUID"]))

    return write


def with_uid(path: Path, uid: str) -> Path:
    """The file, announced under a UID."""
    dataset = pydicom.dcmread(path)
    dataset.file_meta.MediaStorageSOPInstanceUID = uid
    dataset.save_as(path)
    return path


def received(node: Listening) -> list[Path]:
    return sorted(node.queue.received.iterdir())


def test_it_keeps_what_it_is_sent_once(listen, xray):
    node = listen()
    assert node.answers()
    first = xray(1)
    assert node.send(first, xray(2), first) == [0, 0, 0]
    assert node.send(first) == [0]
    assert len(received(node)) == 2
    # What was received is the file that was sent, pixel by pixel and element by element.
    kept = {pydicom.dcmread(file).SOPInstanceUID: pydicom.dcmread(file) for file in received(node)}
    assert kept["1.2.3.4.5.1"] == pydicom.dcmread(first)
    assert node.said("CT1 at 127.0.0.1: 2 accepted, 1 known already")
    assert not [word for word in SECRETS if word in "\n".join(node.log)]


def test_strangers_are_refused_by_name(listen, xray):
    node = listen(Allowed.parse(["CT1", "CT2"], ["127.0.0.0/8"]))
    assert node.send(xray(1), calling="CT2") == [0]
    assert node.send(xray(2), calling="MR1") == []
    assert node.send(xray(2), called="OTHER") == []
    assert node.said("MR1 at 127.0.0.1: 1 refused (its AE title is not allowed (--allow-ae))")
    assert node.said("CT1 at 127.0.0.1: 1 refused (called by another AE title than ours)")
    assert len(received(node)) == 1


def test_other_addresses_are_not_listened_to(listen, xray):
    node = listen(Allowed.parse([], ["10.0.0.0/8", "2001:db8::1"]))
    assert node.send(xray(1)) == []
    assert node.said("refused: 127.0.0.1 is not allowed (--allow-peer)")


def test_limits_of_an_association(listen, xray):
    node = listen(images=2, object_bytes=100_000)
    assert node.send(xray(1), xray(2), xray(3)) == [0, 0, 0xA700]
    assert node.send(xray(3)) == [0]
    big = xray(4, ImageComments="x" * 150_000)
    assert node.send(big, xray(5)) == [None, None]
    assert node.said("an object of more than 0.0953674 MiB, ended")
    assert len(received(node)) == 3 and not list(node.queue.tmp.iterdir())


def test_more_associations_than_allowed_are_refused(listen):
    node = listen(associations=2, idle_seconds=20)
    entity = AE("CT1")
    entity.add_requested_context(Verification)
    held = [entity.associate("127.0.0.1", node.port, ae_title="A2BGAN") for _ in range(3)]
    assert [a.is_established for a in held] == [True, True, False]
    assert node.said("refused (too many associations)")
    held[0].release()
    held[0].join(5)
    until = time.monotonic() + 10
    while not (answered := node.answers()) and time.monotonic() < until:
        time.sleep(0.1)
    assert answered
    held[1].release()


def test_a_full_disk_is_out_of_resources(listen, xray, monkeypatch):
    node = listen()
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 9, 0))
        assert node.send(xray(1), xray(2)) == [0xA700, 0xA700]
    assert node.said("CT1 at 127.0.0.1: images are refused: disk full")
    assert node.said("2 refused (disk full)")
    assert sum("images are refused" in line for line in node.log) == 1
    assert node.send(xray(1)) == [0]

    def broken(path: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(dicom_queue, "sync", broken)  # not promised before it is on the disk
    assert node.send(xray(2)) == [0xA700]
    assert len(received(node)) == 1


@pytest.mark.parametrize("uid", ["../../../tmp/evil", "1.2/3", "one"])
def test_uids_that_are_none(listen, xray, uid, tmp_path):
    node = listen()
    assert node.send(xray(1, SOPInstanceUID=uid)) == [0xC000]
    assert node.send(xray(2, StudyInstanceUID=uid)) == [0xC000]
    assert node.send(with_uid(xray(3), "1.2.9")) == [0xC000]
    assert node.said("refused (damaged header, or another UID in it than announced)")
    assert not received(node) and not list(node.queue.tmp.iterdir())


def test_cut_objects(listen, xray):
    node = listen()
    # Without its header it is refused; a picture that is cut shows when it is decoded.
    for number, keep, status in ((1, 420, 0xC000), (2, -1000, 0)):
        path = xray(number)
        path.write_bytes(path.read_bytes()[:keep])
        assert node.send(path) == [status]
    assert len(received(node)) == 1


def test_what_is_no_image_or_ours_is_not_kept(listen, xray):
    node = listen()
    ours = xray(1, Manufacturer="a2bgan")
    report = xray(2, SOPClassUID=BasicTextSRStorage)
    dataset = pydicom.dcmread(report)
    dataset.file_meta.MediaStorageSOPClassUID = BasicTextSRStorage
    dataset.save_as(report)
    assert node.send(ours, report) == [0, 0]
    assert node.said("2 without an image to score")
    assert not received(node)


def test_what_the_readers_decode_is_accepted(listen):
    node = listen()
    syntaxes = readable_transfer_syntaxes()
    assert {ExplicitVRLittleEndian, JPEG2000Lossless} < set(syntaxes)
    assert not any("MPEG" in syntax.name for syntax in syntaxes)
    entity = AE("CT1")
    for syntax in [*syntaxes, pydicom.uid.MPEG2MPML]:
        entity.add_requested_context(DigitalXRayImageStorageForPresentation, syntax)
    association = entity.associate("127.0.0.1", node.port, ae_title="A2BGAN")
    accepted = {context.transfer_syntax[0] for context in association.accepted_contexts}
    association.release()
    assert accepted == set(syntaxes)


@pytest.mark.parametrize("syntax", [DeflatedExplicitVRLittleEndian, JPEG2000Lossless, RLELossless])
def test_packed_objects_are_readable_as_they_are_kept(listen, xray, syntax):
    node = listen()
    path = xray(1)
    dataset = pydicom.dcmread(path)
    pixels = dataset.pixel_array
    if syntax == DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)
    assert node.send(path, syntax=syntax) == [0]
    (kept,) = received(node)
    assert np.array_equal(read_image(kept, 10_000), pixels)


def test_aborting_and_stalled_peers_block_nobody(listen, xray):
    node = listen(idle_seconds=3)
    stalled = []
    for start in (b"", b"\x01\x00\x00\x00\x10\x00half", struct.pack(">BBL", 4, 0, 2**32 - 1)):
        peer = socket.create_connection(("127.0.0.1", node.port))
        peer.sendall(start)
        stalled.append(peer)
    garbage = socket.create_connection(("127.0.0.1", node.port))
    garbage.sendall(b"GET / HTTP/1.1\r\n\r\n" * 10)
    gone = AE("GONE")
    gone.add_requested_context(DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian)
    association = gone.associate("127.0.0.1", node.port, ae_title="A2BGAN")
    # The command of a C-STORE and a beginning of its data, and then nothing but a reset.
    content = b"\x00" + b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100" * 100
    item = struct.pack(">LB", len(content) + 1, 1) + content
    association.dul.socket.socket.sendall(struct.pack(">BBL", 4, 0, len(item)) + item)
    association.abort()
    assert node.answers() and node.send(xray(1)) == [0]
    for peer in stalled:  # ended by the node
        peer.settimeout(30)
        while peer.recv(1000):
            pass
        peer.close()
    garbage.close()
    assert node.send(xray(2)) == [0]
    assert len(received(node)) == 2
