"""The scorer of a DICOM node before images that it can read and not answer."""

import threading
from types import SimpleNamespace

import numpy as np
import pydicom
import torch
from pydicom.dataelem import DataElement

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import PassingImageError
from a2bgan.serving.dicom_node.queue import Queue
from a2bgan.serving.dicom_node.scorer import Scorer

FOUND = SimpleNamespace(
    scores=torch.ones(1),
    x=torch.zeros(1, 1, 32, 32),
    twin=None,
    anomaly_map=None,
)


def test_an_image_whose_results_cannot_be_encoded_is_put_aside(tmp_path, write_dicom, monkeypatch):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((48, 40), np.uint16))
    dataset = pydicom.dcmread(path)
    dataset["PatientID"] = DataElement("PatientID", "FL", 7)
    dataset.save_as(path)

    (tmp_path / "queue").mkdir()
    queue = Queue(tmp_path / "queue")
    key = queue.key("1.2.3")
    with queue.incoming(path.read_bytes()) as file:
        assert queue.keep(file, key)
    said = []
    trained = SimpleNamespace(
        data=DataConfig(size=32), map_scale=0.3, detect=lambda batches: [FOUND for _ in batches]
    )
    scorer = Scorer(
        queue, trained, send=True, keep_identifiers=True, stop=threading.Event(), log=said.append
    )
    planes = np.zeros((1, 32, 32), np.uint8)
    monkeypatch.setattr(scorer._decoder, "load", lambda _: planes)
    scorer._score(key)
    reason = "its header does not allow a DICOM result"
    assert said == [f"an image cannot be scored: {reason} -> unusable/{key}.dcm"]
    assert (queue.unusable / f"{key}.dcm").exists()
    assert not queue.wait(for_sending=False, seconds=0)
    assert not list(queue.tmp.iterdir()) and not list(queue.outbox.iterdir())
    queue.close()


def test_a_fault_that_may_pass_is_tried_again_and_never_unusable(tmp_path, monkeypatch):
    (tmp_path / "queue").mkdir()
    queue = Queue(tmp_path / "queue")
    key = queue.key("1.2.3")
    with queue.incoming(b"an image") as file:
        assert queue.keep(file, key)
    said = []
    trained = SimpleNamespace(data=DataConfig(size=32), map_scale=0.3)
    scorer = Scorer(
        queue, trained, send=True, keep_identifiers=True, stop=threading.Event(), log=said.append
    )
    monkeypatch.setattr("a2bgan.serving.dicom_node.scorer.PAUSE", 0)

    def fails(_):
        raise PassingImageError("not enough memory")

    monkeypatch.setattr(scorer._decoder, "load", fails)
    scorer._score(key)
    scorer._score(key)
    assert said == ["an image cannot be read now (not enough memory); trying again every 0 s"] * 2
    assert queue.wait(for_sending=False, seconds=0) == [key]
    assert not list(queue.unusable.iterdir())
    queue.close()
