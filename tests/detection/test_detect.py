"""Detection in batches: every score, in float32 and in bfloat16."""

from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from a2bgan.detection import detection
from a2bgan.detection.detect import all_scores, detect
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Method

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 1, 32, 32), dtype=np.uint8)
SMALL_FEATURES = [
    f"method.discriminator.features.{name}=64" for name in ("input_size", "evidence_size")
]


@pytest.fixture(scope="module")
def method() -> Method:
    torch.manual_seed(0)
    widths = ("method.translator.width=4", "method.discriminator.width=4")
    settings = ("data.size=32", *widths, "method.translator.ema=0")
    made = load_config("fast", None, [*settings, *SMALL_FEATURES]).build_method()
    made.prepare(Fabric(accelerator="cpu", devices=1))
    made.networks["translator"].head.weight.data.normal_(0, 0.1)  # else nothing is changed
    evidence: Any = made.networks["evidence"]
    evidence.focal_weight.normal_(0, 0.01)
    return made


@pytest.mark.parametrize("score", ["mean", "discriminator", "evidence"])
def test_bfloat16_is_used_for_the_score_that_is_asked_for_and_changes_it_little(
    method: Method, score: str
) -> None:
    exact, half = (
        np.concatenate([d.scores for d in detect(method, IMAGES, score, half=half)])
        for half in (False, True)
    )
    np.testing.assert_allclose(exact, all_scores(method, IMAGES)[score], rtol=1e-6)
    assert not np.array_equal(exact, half)
    # Features less their mean lose more digits than an image does.
    atol = 0.08 if score == "evidence" else 0.02
    np.testing.assert_allclose(half, exact, rtol=0.05, atol=atol)


def test_a_score_that_the_method_lacks_is_refused(method: Method) -> None:
    with pytest.raises(InputError, match="unknown score 'latent'"):
        next(detect(method, IMAGES, "latent"))


@pytest.mark.parametrize("preset", ["fast", "ganomaly", "ddad", "alad", "pu"])
def test_batches_side_by_side_are_judged_as_one_after_the_other(
    preset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    settings = ["data.size=32"]
    if preset == "fast":
        settings += SMALL_FEATURES
    one = load_config(preset, None, settings).build_method()
    monkeypatch.setattr(detection, "PIXELS_IN_CACHE", 32 * 32)
    images = np.concatenate([IMAGES] * 6)
    modes = {name: network.training for name, network in one.networks.items()}
    before = torch.get_num_threads()
    found = []
    try:
        for cores in (1, 4):
            torch.set_num_threads(cores)
            found.append(all_scores(one, images))
    finally:
        torch.set_num_threads(before)
    for name, alone in found[0].items():
        np.testing.assert_allclose(found[1][name], alone, rtol=1e-4, atol=1e-6)
        # Every image by itself, in evaluation mode: the same image has the same score.
        np.testing.assert_allclose(alone.reshape(6, 5), alone[:5][None].repeat(6, 0), rtol=1e-4)
    assert {name: network.training for name, network in one.networks.items()} == modes


def test_gradients_are_as_the_caller_has_them_between_batches(method: Method) -> None:
    for _ in detect(method, IMAGES, "mean"):
        assert torch.is_grad_enabled()
