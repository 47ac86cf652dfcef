import copy

import numpy as np
import pytest
import torch
from method_steps import STYLED, assert_falls, assert_same_weights, batches, make, moment, squares

from a2bgan.training.config import load_config
from a2bgan.training.methods.method import halvings

SMALL = (*STYLED, "method.discriminator.depth=3", "method.members=3")


def test_the_papers_steps():
    """The released trainer's losses in plain float64, before and after the council sits."""
    method = make("councilgan-paper", *SMALL, "data.channels=1", double=True)
    g, d, c = (
        [copy.deepcopy(method.networks[f"{name}_{i}"]) for i in range(3)]
        for name in ("translator", "discriminator", "discriminator_council")
    )
    adams = [
        [torch.optim.Adam(n.parameters(), 1e-4, (0.5, 0.999), weight_decay=1e-4) for n in part]
        for part in (g, d, c)
    ]
    past = [([1.0] * 100, [1.0] * 100) for _ in range(3)]

    def descend(adam, loss):
        adam.zero_grad()
        loss.backward()
        adam.step()

    fractions = (0.0, 0.0, 0.008, 0.012, 0.013)
    for step, fraction in enumerate(fractions):
        healthy, mixed = batches(step)
        generator = torch.Generator().manual_seed(step)
        z = torch.randn(4, 3, generator=generator, dtype=torch.float64)
        made = [net(mixed, [z])[0] for net in g]
        with torch.no_grad():
            real = [net(mixed, [0.7 * z])[0].healthy for net in g]
        for i in range(3):
            fake = made[i].healthy.detach()
            descend(adams[1][i], 24 * (squares(d[i](healthy), 1) + squares(d[i](fake), 0)))
            if fraction >= 0.00666:
                loss = squares(c[i](torch.cat([fake, mixed], 1)), 0)
                for j in {0, 1, 2} - {i}:
                    loss = loss + squares(c[i](torch.cat([real[j], mixed], 1)), 1) / 2
                descend(adams[2][i], 12 * loss)
        for i in range(3):
            adversarial = squares(d[i](made[i].healthy), 1)
            past[i][0].append(adversarial.item())
            total = 24 * adversarial
            if fraction >= 0.00666:
                council = squares(c[i](torch.cat([made[i].healthy, mixed], 1)), 1)
                past[i][1].append(council.item())
                means = [np.mean(losses[-100:]) for losses in past[i]]
                total = total + 12 * council * means[0] / means[1]
            if fraction >= 0.01:
                m = made[i].masks
                edges = (m[:, :, 1:] - m[:, :, :-1]).abs().sum()
                edges = edges + (m[..., 1:] - m[..., :-1]).abs().sum()
                total = total + 57 * m.mean() ** 2 + 2.2 * edges / m.numel()
                total = total + 10 * (1 / ((m - 0.5).abs() + 0.01)).mean()
            descend(adams[0][i], total)
        method.step(healthy, mixed, moment(step, fraction))
    for part, name in ((g, "translator"), (d, "discriminator"), (c, "discriminator_council")):
        for i, network in enumerate(part):
            assert_same_weights(method.networks[f"{name}_{i}"], network, 1e-6, 1e-7)


def test_counts_and_sizes_are_the_papers():
    method = load_config("councilgan-paper").build_method()
    names = [name for name in method.networks if name != "history"]
    translators = [name for name in names if name.startswith("translator")]
    assert (len(translators), len(names) - len(translators)) == (4, 8)
    sizes = {
        name.rsplit("_", 1)[0]: sum(p.numel() for p in method.networks[name].parameters())
        for name in names
    }
    # Of the released networks, with its configuration for glasses.
    assert sizes == {
        "translator": 17_404_236,
        "discriminator": 5_514_114,
        "discriminator_council": 6_040_194,
    }


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_fall(precision):
    method = make("councilgan", *SMALL, "method.learning_rate=0.003", precision=precision)
    found = [
        method.step(*(part.float() for part in batches(step % 3)), moment(step, 0.05 + step / 50))
        for step in range(24)
    ]
    assert_falls(found, "d_adversarial", "g_focus_indecision")


def test_every_member_can_be_asked_and_no_image_depends_on_another():
    method = make("councilgan", *SMALL)
    x = torch.cat([*batches(0)]).float()
    assert method.versions == ("member-0", "member-1", "member-2")
    twins = [method.find(x, version).twin for version in method.versions]
    assert not torch.equal(twins[0], twins[1])
    torch.testing.assert_close(method.find(x).twin, twins[0])
    together, alone = method.find(x), method.find(x[2:3])
    torch.testing.assert_close(together.anomaly_map[2:3], alone.anomaly_map)
    assert together.mask.shape == (8, 32, 32)
    assert together.mask.min() >= 0 and together.mask.max() <= 1
    kept = together.mask == 0
    torch.testing.assert_close(together.twin[:, 0][kept], x[:, 0][kept])


def test_rates_halve():
    assert [halvings(f, 0.25) for f in (0, 0.24, 0.26, 0.5, 0.99)] == [1, 1, 0.5, 0.25, 0.125]
    method = make("councilgan", *SMALL)
    method.step(*(part.float() for part in batches(0)), moment(0, 0.5))
    assert {o.param_groups[0]["lr"] for o in method.optimizers.values()} == {2.5e-4}


def test_remembered_losses_are_those_of_all_processes(monkeypatch):
    """Else each would weigh the council's loss its own way."""
    method = make("councilgan", *SMALL)
    monkeypatch.setattr(method.fabric, "all_reduce", lambda loss: torch.full_like(loss, 7.0))
    method.step(*(part.float() for part in batches(0)), moment(0, 0.5))
    assert (method.history.adversarial[:, 0] == 7).all()
    assert (method.history.council[:, 0] == 7).all()
    assert (method.history.council[:, 1:] == 1).all()
