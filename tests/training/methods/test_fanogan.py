"""f-AnoGAN's two phases and its score against plain ones in float64."""

import copy

import pytest
import torch
from method_steps import assert_same_weights, make, moment
from torch import Tensor

from a2bgan.training.methods.fanogan import FAnoGAN

SMALL = ("data.size=32", "data.crop_top=0", "method.width=2", "method.latent=5")


def small(*settings: str, precision: str = "32-true") -> FAnoGAN:
    double = precision == "32-true"
    return make("fanogan-paper", *SMALL, *settings, double=double, precision=precision)


def batch(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(4, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1


def test_the_gan_is_wgan_gp_with_five_critic_steps_for_each_of_the_generator():
    method = small()
    g, d = (copy.deepcopy(method.networks[n]) for n in ("generator", "critic"))
    adam_g, adam_d = (
        torch.optim.Adam(n.parameters(), 1e-4, (0.0, 0.9), foreach=False) for n in (g, d)
    )
    for step in range(10):
        x = batch(step)
        method.step(x, x, moment(step, 0.2))
        noise = torch.Generator().manual_seed(step)
        fake = g(torch.randn(4, 5, generator=noise, dtype=torch.float64)).detach()
        mix = torch.rand(4, 1, 1, 1, generator=noise)
        between = (mix * x + (1 - mix) * fake).requires_grad_(True)
        gradient = torch.autograd.grad(d(between)[0].sum(), between, create_graph=True)[0]
        penalty = ((gradient.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
        adam_d.zero_grad()
        (d(fake)[0].mean() - d(x)[0].mean() + 10 * penalty).backward()
        adam_d.step()
        if step in (4, 9):
            adam_g.zero_grad()
            z = torch.randn(4, 5, generator=noise, dtype=torch.float64)
            (-d(g(z))[0].mean()).backward()
            adam_g.step()
    assert_same_weights(method.networks["critic"], d, 1e-8)
    assert_same_weights(method.networks["generator"], g, 1e-8)
    assert not method.ready


def test_the_encoder_learns_by_izi_f_with_the_gan_frozen():
    method = small("method.encoder.kappa=0.5")
    for step in range(5):
        method.step(batch(step), batch(step), moment(step, 0.2))
    g, d, e = (copy.deepcopy(method.networks[n]) for n in ("generator", "critic", "encoder"))
    state = copy.deepcopy(g.state_dict())
    g.eval()
    squares = [torch.zeros_like(p) for p in e.parameters()]
    for step in range(5, 8):
        x = batch(step)
        method.step(x, x, moment(step, 0.5))
        twin = g(e(x))
        loss = ((x - twin) ** 2).mean() + 0.5 * ((d(x)[1] - d(twin)[1]) ** 2).mean()
        gradients = torch.autograd.grad(loss, [*e.parameters()])
        with torch.no_grad():  # RMSprop
            for p, gradient, square in zip(e.parameters(), gradients, squares, strict=True):
                square.mul_(0.9).add_(0.1 * gradient**2)
                p -= 5e-5 * gradient / (square.sqrt() + 1e-5)
    assert_same_weights(method.networks["encoder"], e, 1e-8)
    assert_same_weights(method.networks["critic"], d, 1e-8)
    for name, tensor in method.networks["generator"].state_dict().items():
        assert torch.equal(tensor, state[name]), name
    assert method.ready

    finding = method.find(x)
    e.load_state_dict(method.networks["encoder"].state_dict())
    twin = g(e.eval()(x))
    score = ((x - twin) ** 2).mean((1, 2, 3)) + 0.5 * ((d(x)[1] - d(twin)[1]) ** 2).mean(1)
    torch.testing.assert_close(finding.scores["image-and-features"], score)
    torch.testing.assert_close(finding.twin, twin)


def test_the_phase_follows_the_fraction_alone():
    method = small("method.gan.share=0.25")
    x = batch(0)
    phases = ["e_image" in method.step(x, x, moment(7, f)) for f in (0.0, 0.24, 0.25, 0.9, 0.1)]
    assert phases == [False, False, True, True, False]


@pytest.mark.parametrize("fraction", [0.1, 0.9])
def test_the_step_runs_in_mixed_precision(fraction):
    method = small(precision="bf16-mixed")
    x = batch(0).float()
    report = method.step(x, x, moment(4, fraction))
    assert all(torch.isfinite(value) for value in report.values())
