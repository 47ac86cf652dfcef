"""ALAD's step and score against plain ones in float64."""

import copy

import pytest
import torch
from method_steps import make, moment
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from a2bgan.training.methods.alad import ALAD

SMALL = ("data.size=32", "data.crop_top=0", "method.width=4", "method.latent=5")


def small(*settings: str) -> ALAD:
    return make("alad-paper", *SMALL, *settings, double=True)


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1


def ones(logits: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.ones_like(logits))


def zeros(logits: Tensor) -> Tensor:
    return binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))


def test_the_papers_step():
    """Every network by its own loss, that of G and E with all terms of the objective."""
    method = small()
    names = ("generator", "encoder", "discriminator_xz", "discriminator_xx", "discriminator_zz")
    nets = [copy.deepcopy(method.networks[n]) for n in names]
    g, e, d_xz, d_xx, d_zz = nets
    adams = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in nets]

    def set_gradients(network: torch.nn.Module, loss: Tensor) -> None:
        parameters = [*network.parameters()]
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        for p, gradient in zip(parameters, gradients, strict=True):
            p.grad = gradient

    for step in range(3):
        x = batch(step)
        method.step(x, x, moment(step))
        noise = torch.Generator().manual_seed(step)
        z = torch.randn(4, 5, generator=noise, dtype=torch.float64)
        with torch.no_grad():
            fake, code = g(z), e(x)
            twin, recoded = g(code), e(fake)
        set_gradients(d_xz, ones(d_xz(x, code, noise)) + zeros(d_xz(fake, z, noise)))
        set_gradients(d_xx, ones(d_xx(x, x, noise)[0]) + zeros(d_xx(x, twin, noise)[0]))
        set_gradients(d_zz, ones(d_zz(z, z, noise)) + zeros(d_zz(z, recoded, noise)))
        for adam in adams[2:]:
            adam.step()

        z = torch.randn(4, 5, generator=noise, dtype=torch.float64)
        fake, code = g(z), e(x)
        true_pairs = zeros(copy.deepcopy(d_xx)(x, x)[0]) + zeros(copy.deepcopy(d_zz)(z, z))
        g_xz, e_xz = ones(d_xz(fake, z, noise)), zeros(d_xz(x, code, noise))
        cycles = true_pairs + ones(d_xx(x, g(code), noise)[0])
        cycles = cycles + ones(d_zz(z, e(fake), noise))
        set_gradients(g, g_xz + cycles)
        set_gradients(e, e_xz + cycles)
        for adam in adams[:2]:
            adam.step()
    for name, plain in zip(names, nets, strict=True):
        found = method.networks[name].state_dict()
        for key, tensor in plain.state_dict().items():
            torch.testing.assert_close(found[key], tensor, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("version", ["ema", "raw"])
def test_the_score_is_the_l1_distance_of_features(version):
    method = small()
    for step in range(3):
        method.step(batch(step), batch(step), moment(step))
    x = batch(99)
    finding = method.find(x, version)
    end = "_ema" if version == "ema" else ""
    g, e, d = (
        copy.deepcopy(method.networks[n + end]).eval()
        for n in ("generator", "encoder", "discriminator_xx")
    )
    twin = g(e(x))

    def features(y: Tensor) -> Tensor:
        y = torch.cat([x, y], 1)
        for layer in d.convolutions:
            y = layer(y)
            y = torch.where(y > 0, y, 0.2 * y)
        return y.flatten(1)

    expected = (features(x) - features(twin)).norm(p=1, dim=1)
    torch.testing.assert_close(finding.scores["features"], expected)
    torch.testing.assert_close(finding.twin, twin)
    assert torch.equal(finding.scores["features"], method.find(x, version).scores["features"])


def test_the_average_follows_the_weights_and_can_be_left_out():
    method = small("method.ema=0.9")
    average = [p.clone() for p in method.networks["encoder_ema"].parameters()]
    for step, newest in ((0, 1), (10, 0.5), (900, 0.1)):
        method.step(batch(step), batch(step), moment(step))
        for p, q in zip(average, method.networks["encoder"].parameters(), strict=True):
            p.lerp_(q, newest)
    for p, q in zip(average, method.networks["encoder_ema"].parameters(), strict=True):
        torch.testing.assert_close(p, q)
    assert method.versions == ("ema", "raw")
    assert small("method.ema=0").versions == ("raw",)
