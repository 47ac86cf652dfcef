"""Promises of every method that learns by steps, apart from A2B-GAN's."""

import copy

import numpy as np
import pytest
import torch
from method_steps import STYLED, TRANSLATION, batches, make, moment

from a2bgan.training.checkpoint import find_checkpoint
from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.run_folder import RunFolder

BOTTLENECK = ("data.size=32", "method.widths=[4, 6]", "method.hidden=12", "method.latent=5")
LATENT = ("data.size=32", "method.width=4", "method.latent=8")
COUNCIL = (*STYLED, "method.discriminator.depth=3", "method.members=2")
SMALL = {
    **dict.fromkeys(("autoencoder", "vae", "ddad"), BOTTLENECK),
    **dict.fromkeys(("ganomaly", "fanogan", "alad"), LATENT),
    **dict.fromkeys(("brainomaly", "stargan", "fixedpointgan"), TRANSLATION),
    "councilgan": COUNCIL,
    "aclgan": STYLED,
    "pu": ("data.size=32", "method.width=4", "method.backbone=null"),
}


@pytest.mark.parametrize("preset", SMALL)
@pytest.mark.parametrize("channels", [1, 3])
def test_findings_have_their_ranges_and_no_image_depends_on_another(preset, channels):
    method = make(preset, *SMALL[preset], f"data.channels={channels}")
    x = torch.cat(batches(0, channels)).float()
    for step, fraction in enumerate((0.1, 0.9)):  # both phases, of methods that have two
        method.step(x[:4], x[4:], moment(step, fraction))
    before = copy.deepcopy({name: n.state_dict() for name, n in method.networks.items()})
    modes = {name: n.training for name, n in method.networks.items()}
    facts = method.facts
    for version in method.versions:
        whole, alone = method.find(x, version), method.find(x[2:3], version)
        for found, part, shown in (
            (whole.anomaly_map, alone.anomaly_map, facts.makes_map),
            (whole.twin, alone.twin, facts.makes_twin and facts.makes_map),
        ):
            assert (found is not None) == shown
            if found is not None:
                assert not found.requires_grad
                torch.testing.assert_close(found[2:3], part, rtol=1e-4, atol=1e-5)
        if facts.makes_map:
            assert whole.anomaly_map.shape == (8, 32, 32)
            assert whole.anomaly_map.min() >= 0 and 0 < whole.anomaly_map.max() <= 1
        if whole.twin is not None:
            assert whole.twin.shape == x.shape and whole.twin.abs().max() <= 1
        assert set(whole.scores or {}) == set(facts.own_scores)
        for name in facts.own_scores:
            assert whole.scores[name].shape == (8,) and not whole.scores[name].requires_grad
            torch.testing.assert_close(
                whole.scores[name][2:3], alone.scores[name], rtol=1e-4, atol=0
            )
    assert {name: n.training for name, n in method.networks.items()} == modes
    for name, network in method.networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(tensor, before[name][key]), (name, key)


@pytest.mark.parametrize(
    "preset", ["autoencoder", "vae", "ddad", "ganomaly", "fanogan", "alad", "councilgan"]
)
def test_killed_and_resumed_bit_for_bit(preset, tmp_path):
    """Twice, in either phase: f-AnoGAN's GAN ends after step 7 of 12."""
    settings = [*SMALL[preset], "train.accelerator=cpu", "train.precision=32-true"]
    settings += ["train.steps=12", "train.batch_size=4", "train.log_every=1"]
    config = load_config(preset, None, [*settings, "train.checkpoint_every=3"])
    rng = np.random.default_rng(0)
    sets = [rng.integers(0, 255, (n, 1, 32, 32), dtype=np.uint8) for n in (9, 7)]
    whole, killed = (RunFolder.create(tmp_path / name, config) for name in ("whole", "killed"))
    train(config, *sets, whole)
    for last in (5, 10):

        def kill(report, last=last):
            if report.step == last:
                raise RuntimeError("killed")

        with pytest.raises(RuntimeError, match="killed"):
            train(config, *sets, killed, resume=True, watch=kill)
    train(config, *sets, killed, resume=True)
    weights = [
        {f.name: f.read_bytes() for f in find_checkpoint(run.checkpoints).glob("*.safetensors")}
        for run in (whole, killed)
    ]
    assert weights[0] == weights[1]
    assert len(weights[0]) == len(config.build_method().networks) + 1
