"""The linear probe through the training loop."""

import os
import signal

import numpy as np
import pytest
import torch

from a2bgan.data.batches import to_unit_range
from a2bgan.models.evidence import over_pixels
from a2bgan.training.checkpoint import find_checkpoint, list_checkpoints, load_weights
from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.methods.probe import Probe
from a2bgan.training.run_folder import RunFolder

SMALL = ("data.size=32", "method.input_size=64", "train.accelerator=cpu")


def images(count: int, bright: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    found = rng.integers(40, 120, (count, 1, 32, 32), dtype=np.uint8)
    for image, (top, left) in zip(found[:bright], rng.integers(0, 20, (bright, 2)), strict=True):
        image[0, top : top + 12, left : left + 12] = 250
    return found


SETS = images(12, 0, 0), images(12, 12, 1)


def start(path) -> RunFolder:
    return RunFolder.create(path, load_config("probe", None, SMALL))


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    run = start(tmp_path_factory.mktemp("probe") / "run")
    reports = []
    return run, train(run.config(), *SETS, run, watch=reports.append), reports


def test_it_tells_new_images_apart_and_says_where(trained):
    _, outcome, _ = trained
    assert not outcome.interrupted
    new = images(8, 4, 2)
    x = to_unit_range(new)
    finding = outcome.method.find(x)
    assert finding.twin is None and finding.mask is None
    assert set(finding.scores) == {"evidence", "focal", "diffuse"}
    for score in finding.scores.values():
        assert score.shape == (8,) and not score.requires_grad
    focal, maps = finding.scores["focal"], finding.anomaly_map
    assert focal[:4].min() > focal[4:].max()
    assert maps.shape == (8, 32, 32)
    assert 0 <= maps.min() < maps.max() <= 1
    assert maps[:4][new[:4, 0] == 250].mean() > maps[:4][new[:4, 0] < 250].mean()
    with torch.no_grad():
        odds = outcome.method.evidence(x).odds
    expected = 1 / (1 + np.exp(-over_pixels(odds, (32, 32)).numpy()))
    np.testing.assert_allclose(maps, expected, rtol=1e-5)


def test_one_step_is_reported_and_one_checkpoint_gives_the_weights_back(trained):
    run, outcome, reports = trained
    assert (outcome.position.step, outcome.steps) == (1, 1)
    assert [(report.step, report.fraction) for report in reports] == [(1, 1.0)]
    assert [line["step"] for line in run.metrics()] == [1]
    assert [path.name for path in list_checkpoints(run.checkpoints)] == ["step-00000001"]
    other = run.config().build_method()
    load_weights(find_checkpoint(run.checkpoints), other)
    x = to_unit_range(images(3, 1, 5))
    one, two = (method.find(x) for method in (outcome.method, other))
    torch.testing.assert_close(two.anomaly_map, one.anomaly_map)
    torch.testing.assert_close(two.scores["evidence"], one.scores["evidence"])


def test_resuming_what_is_finished_fits_nothing(trained, monkeypatch):
    run, _, _ = trained
    (checkpoint,) = list_checkpoints(run.checkpoints)
    before = {file.name: file.read_bytes() for file in checkpoint.iterdir()}
    monkeypatch.setattr(Probe, "fit", lambda *_: pytest.fail("fitted again"))
    outcome = train(run.config(), *SETS, run, resume=True)
    assert (outcome.position.step, outcome.steps, outcome.interrupted) == (1, 0, False)
    assert {file.name: file.read_bytes() for file in checkpoint.iterdir()} == before


def test_an_interrupt_leaves_nothing_half_done(tmp_path, monkeypatch):
    run = start(tmp_path / "run")
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    monkeypatch.setattr(Probe, "fit", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt):
        train(run.config(), *SETS, run)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers
    assert not list_checkpoints(run.checkpoints)
