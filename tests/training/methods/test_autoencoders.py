"""Autoencoder, VAE and DDAD: the same small networks, each with its own losses and scores."""

import copy
from typing import Any

import method_steps
import numpy as np
import pytest
import torch
from torch import Tensor

from a2bgan.training.methods.ddad import DDAD
from a2bgan.training.methods.method import Moment
from a2bgan.training.methods.vae import VAE, kl_divergence, reconstruction_surprise

SMALL = (
    "data.size=32",
    "method.widths=[4, 6]",
    "method.hidden=12",
    "method.latent=5",
    "train.accelerator=cpu",
)
METHODS = ("autoencoder", "vae", "ddad")
FEWER = {"ddad": ("method.members=2",)}


def make(preset: str, *settings: str, precision: str = "32-true", double: bool = False) -> Any:
    return method_steps.make(preset, *SMALL, *settings, precision=precision, double=double)


def batches(step: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Smooth images of one kind (B), and with a bright square (A)."""
    generator = torch.Generator().manual_seed(step)
    coarse = torch.rand(16, 1, 3, 3, generator=generator) - 0.5
    images = torch.nn.functional.interpolate(coarse, size=32, mode="bilinear").to(dtype)
    mixed = images[8:].clone()
    mixed[:, :, 8:16, 8:16] = 0.9
    return images[:8], mixed


def moment(step: int) -> Moment:
    return Moment(step, 0.3, torch.Generator().manual_seed(1000 + step))


@pytest.mark.parametrize("preset", METHODS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_fall(preset, precision):
    settings = ("method.learning_rate=0.005", *FEWER.get(preset, ()))
    method = make(preset, *settings, precision=precision)
    reports = [method.step(*batches(step), moment(step)) for step in range(40)]
    for name in reports[0]:
        values = [report[name].item() for report in reports]
        assert all(np.isfinite(values))
        if name != "kl_divergence":
            assert np.mean(values[-10:]) < 0.8 * np.mean(values[:10]), name


def test_the_step_of_the_autoencoder_is_adam_on_the_absolute_error():
    method = make("autoencoder", double=True)
    plain = copy.deepcopy(method.networks["autoencoder"])
    adam = torch.optim.Adam(plain.parameters(), 1e-3, (0.5, 0.999), foreach=False)
    for step in range(3):
        b, a = batches(step, torch.float64)
        adam.zero_grad()
        torch.nn.functional.l1_loss(plain(b), b).backward()
        adam.step()
        method.step(b, a, moment(step))
    for p, q in zip(method.networks["autoencoder"].parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-10)


def test_the_evidence_lower_bound_is_that_of_the_distributions():
    """Against the densities and divergences of torch.distributions."""
    method = make("vae", "method.noise=0.2", double=True)
    assert isinstance(method, VAE)
    x = batches(0, torch.float64)[0]
    found = method.find(x).scores["elbo"]
    says = method.networks["autoencoder"].eval()(x)
    q = torch.distributions.Normal(says.mean, (says.log_variance / 2).exp())
    p = torch.distributions.Normal(0.0, 1.0)
    # 0.2 of the intensity range [-1, 1] is 0.4.
    likelihood = torch.distributions.Laplace(says.reconstruction, 0.4)
    log_likelihood = likelihood.log_prob(x).sum((1, 2, 3)) + 32 * 32 * np.log(2 * 0.4)
    divergence = torch.distributions.kl_divergence(q, p).sum(1)
    torch.testing.assert_close(found, divergence - log_likelihood)


def test_the_step_of_the_vae_descends_the_bound_of_one_sample():
    method = make("vae", double=True)
    plain = copy.deepcopy(method.networks["autoencoder"])
    b, a = batches(0, torch.float64)
    report = method.step(b, a, moment(7))
    generator = torch.Generator().manual_seed(1007)
    noise = torch.randn(8, 5, generator=generator, dtype=torch.float64)
    reconstruction, mean, log_variance = plain(b, noise)
    loss = reconstruction_surprise(b, reconstruction, method.config.noise).mean()
    loss = loss + kl_divergence(mean, log_variance).mean()
    assert report["negative_elbo"].item() == pytest.approx(loss.item(), rel=1e-9)


def test_the_discrepancies_of_ddad_by_hand():
    method = make("ddad", double=True)
    assert isinstance(method, DDAD)
    for step in range(3):
        method.step(*batches(step, torch.float64), moment(step))
    x = torch.cat(batches(9, torch.float64))
    finding = method.find(x)
    says = {}
    for module, ensemble in method.networks.items():
        ensemble.eval()
        says[module] = np.stack([m(x).detach().numpy() for m in ensemble.members])
    inter = np.abs(says["normative"].mean(0) - says["unknown"].mean(0))[:, 0] / 2
    np.testing.assert_allclose(finding.anomaly_map.numpy(), inter, rtol=1e-9)
    intra = says["normative"].std(0, ddof=1).mean((1, 2, 3)) / 2
    np.testing.assert_allclose(finding.scores["intra"].numpy(), intra, rtol=1e-9)
    assert intra.min() > 0  # members that start alike would stay alike


def test_each_autoencoder_of_ddad_learns_as_if_alone():
    """The normative ones from B, the unknown ones from half of B and half of A; squared error."""
    method = make("ddad-paper", double=True)
    plain = {
        module: [copy.deepcopy(m) for m in ensemble.members]
        for module, ensemble in method.networks.items()
    }
    adams = {
        id(m): torch.optim.Adam(m.parameters(), 5e-4, (0.5, 0.999), foreach=False)
        for members in plain.values()
        for m in members
    }
    for step in range(3):
        b, a = batches(step, torch.float64)
        method.step(b, a, moment(step))
        for module, batch in (("normative", b), ("unknown", torch.cat([b[4:], a[:4]]))):
            for member in plain[module]:
                adams[id(member)].zero_grad()
                torch.nn.functional.mse_loss(member(batch), batch).backward()
                adams[id(member)].step()
    for module, members in plain.items():
        for k, member in enumerate(members):
            learned = method.networks[module].members[k].state_dict()
            for key, tensor in member.state_dict().items():
                torch.testing.assert_close(learned[key], tensor, rtol=1e-9, atol=1e-10)


def test_ddad_finds_what_only_the_mixed_set_has():
    method = make("ddad", "method.learning_rate=0.01", "method.members=2")
    for step in range(100):
        method.step(*batches(step), moment(step))
    b, a = batches(1000)
    found = method.find(torch.cat([b, a])).anomaly_map
    inside = found[8:, 8:16, 8:16].mean()
    assert inside > 3 * found[:8].mean()
    assert found[8:].mean() > found[:8].mean()
