"""StarGAN, and Fixed-Point GAN on top of it, against plain float64 loops."""

import copy

import pytest
import torch
from method_steps import TRANSLATION, assert_same_weights, batches, make, moment
from torch.nn import functional as F

from a2bgan.training.methods.stargan import DomainDiscriminator, DomainTranslator


def plain_loop(method, same_domain, critic_steps):
    """What the released code does, from the method's present weights; the networks after it."""
    g, d = (copy.deepcopy(method.networks[n]) for n in ("translator", "discriminator"))
    adams = [torch.optim.Adam(n.parameters(), 1e-4, (0.5, 0.999)) for n in (g, d)]
    reported = {}
    for step in range(2 * critic_steps):
        healthy, mixed = batches(step)
        noise = torch.Generator().manual_seed(step)
        x = torch.cat([mixed, healthy])
        own = torch.tensor([[0.0]] * 4 + [[1.0]] * 4, dtype=torch.float64)
        wanted = own[torch.randperm(8, generator=noise)]
        fake = g(x, wanted).detach()
        real_out, own_logits = d(x)
        alpha = torch.rand(8, 1, 1, 1, generator=noise)
        between = (alpha * x + (1 - alpha) * fake).requires_grad_()
        (slope,) = torch.autograd.grad(d(between).real.sum(), between, create_graph=True)
        penalty = ((slope.pow(2).sum((1, 2, 3)).sqrt() - 1) ** 2).mean()
        probability = torch.sigmoid(own_logits)
        entropy = -(own * probability.log() + (1 - own) * (1 - probability).log()).sum() / 8
        loss = d(fake).real.mean() - real_out.mean() + entropy + 10 * penalty
        adams[1].zero_grad()
        loss.backward()
        adams[1].step()
        if (step + 1) % critic_steps:
            continue

        def three(target, made, x=x, own=own):
            real, logits = d(made)
            entropy = F.softplus(torch.where(target > 0, -logits, logits)).sum() / 8
            return -real.mean() + entropy + 10 * (g(made, own) - x).abs().mean()

        total = three(wanted, g(x, wanted))
        if same_domain:
            kept = g(x, own)
            total = total + three(own, kept) + 10 * (kept - x).abs().mean()
            reported["g_identity"] = (kept - x).abs().mean()
        adams[0].zero_grad()
        total.backward()
        adams[0].step()
    return {"translator": g, "discriminator": d}, reported


@pytest.mark.parametrize("name", ["stargan", "fixedpointgan"])
def test_the_papers_steps(name):
    method = make(f"{name}-paper", *TRANSLATION, "data.channels=1", double=True)
    expected, reported = plain_loop(method, name == "fixedpointgan", critic_steps=5)
    for step in range(10):
        report = method.step(*batches(step), moment(step))
    for key, network in expected.items():
        assert_same_weights(method.networks[key], network, 1e-6, 1e-9)
    for key, value in reported.items():
        torch.testing.assert_close(report[key], value.detach(), rtol=1e-6, atol=1e-9)


def test_the_networks_are_as_large_as_the_released_ones():
    """Five labels, 128 pixels: 53.2 million together, as its code prints and its paper says."""
    counts = [
        sum(p.numel() for p in network.parameters())
        for network in (
            DomainTranslator(3, 5, 64, 6, "transposed", "tanh"),
            DomainDiscriminator(3, 5, 64, 6, 128),
        )
    ]
    assert counts == [8_430_528, 44_762_048]


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(
    ("name", "loss"), [("stargan", "d_domain"), ("fixedpointgan", "g_identity")]
)
def test_losses_fall(name, loss, precision):
    rates = [f"method.{part}.learning_rate=0.003" for part in ("translator", "discriminator")]
    method = make(name, *TRANSLATION, *rates, precision=precision)
    values = []
    for step in range(60):
        healthy, mixed = (part.float() for part in batches(step % 3))
        report = method.step(0.4 * healthy + 0.5, mixed, moment(step))
        values += [report[loss].item()] if loss in report else []
    assert len(values) >= 30
    assert sum(values[-5:]) < 0.8 * sum(values[:5])


@pytest.mark.parametrize("name", ["stargan", "fixedpointgan"])
def test_twins_are_of_domain_b_and_no_image_depends_on_another(name):
    method = make(name, *TRANSLATION, "data.channels=3")
    x = torch.cat([*batches(0, channels=3)]).float()
    together, alone = method.find(x), method.find(x[2:3])
    asked = method.networks["translator"](x, torch.ones(8, 1))
    torch.testing.assert_close(together.twin, asked.detach())
    torch.testing.assert_close(together.anomaly_map[2:3], alone.anomaly_map)
    assert together.mask is None and not together.twin.requires_grad
    assert not torch.equal(asked, method.networks["translator"](x, torch.zeros(8, 1)))


def test_it_is_ready_after_its_first_translator_step():
    method = make("stargan", *TRANSLATION)
    ready = []
    for step in range(3):
        ready.append(method.ready)
        method.step(*(part.float() for part in batches(step)), moment(step))
    assert ready == [False, False, True]
