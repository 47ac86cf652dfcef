"""GANomaly's step and score against plain ones in float64."""

import copy

import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn import functional as F

from a2bgan.training.config import load_config
from a2bgan.training.methods.ganomaly import GANomaly
from a2bgan.training.methods.method import Moment


def make(preset: str = "ganomaly-paper") -> GANomaly:
    settings = ["data.size=32", "data.crop_top=0", "method.width=3", "method.latent=5"]
    method = load_config(preset, None, settings).build_method()
    assert isinstance(method, GANomaly)
    for network in method.networks.values():
        network.double()
    method.prepare(Fabric(accelerator="cpu", devices=1))
    return method


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1


def test_the_papers_step():
    """Beside this, ten steps of the released code gave the same weights to 1.2e-16 (float64)."""
    method = make()
    g, d = (copy.deepcopy(method.networks[n]) for n in ("generator", "discriminator"))
    adams = [torch.optim.Adam(n.parameters(), 2e-4, (0.5, 0.999), foreach=False) for n in (g, d)]
    for step in range(3):
        x = batch(step)
        method.step(x, x, Moment(step, 0.3, torch.Generator()))
        z = g.encoder(x)
        twin = g.decoder(z)
        f, f_twin = d.body.features(x), d.body.features(twin)
        loss = ((f - f_twin) ** 2).mean() + 50 * (x - twin).abs().mean()
        loss = loss + ((z - g.second_encoder(twin)) ** 2).mean()
        gradients = torch.autograd.grad(loss, [*g.parameters()])
        real, fake = (d.body.head(d.body.features(y)).sigmoid() for y in (x, twin.detach()))
        d_loss = F.binary_cross_entropy(real, torch.ones_like(real))
        d_loss = (d_loss + F.binary_cross_entropy(fake, torch.zeros_like(fake))) / 2
        gradients += torch.autograd.grad(d_loss, [*d.parameters()])
        for p, gradient in zip([*g.parameters(), *d.parameters()], gradients, strict=True):
            p.grad = gradient
        for adam in adams:
            adam.step()
    for name, plain in (("generator", g), ("discriminator", d)):
        for p, q in zip(method.networks[name].parameters(), plain.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-10)


def test_the_score_is_the_l1_norm_between_the_codes():
    method = make()
    x = batch(0)
    method.step(x, x, Moment(0, 0.3, torch.Generator()))
    finding = method.find(x)
    g = copy.deepcopy(method.networks["generator"]).eval()
    z = g.encoder(x)
    twin = g.decoder(z)
    torch.testing.assert_close(finding.scores["latent"], (z - g.second_encoder(twin)).norm(1, 1))
    torch.testing.assert_close(finding.twin, twin)
    torch.testing.assert_close(finding.anomaly_map, (x - twin).abs()[:, 0] / 2)
