"""GANomaly's step and score against plain ones in float64."""

import copy

import torch
from method_steps import assert_same_weights, make
from torch import Tensor
from torch.nn import functional as F

from a2bgan.training.methods.method import Moment

SMALL = ("data.size=32", "data.crop_top=0", "method.width=3", "method.latent=5")


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1


def test_the_papers_step():
    """Beside this, ten steps of the released code gave the same weights to 1.2e-16 (float64)."""
    method = make("ganomaly-paper", *SMALL, double=True)
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
        assert_same_weights(method.networks[name], plain)


def test_the_score_is_the_l1_norm_between_the_codes():
    method = make("ganomaly-paper", *SMALL, double=True)
    x = batch(0)
    method.step(x, x, Moment(0, 0.3, torch.Generator()))
    finding = method.find(x)
    g = copy.deepcopy(method.networks["generator"]).eval()
    z = g.encoder(x)
    twin = g.decoder(z)
    torch.testing.assert_close(finding.scores["latent"], (z - g.second_encoder(twin)).norm(1, 1))
    torch.testing.assert_close(finding.twin, twin)
    torch.testing.assert_close(finding.anomaly_map, (x - twin).abs()[:, 0] / 2)
