import pytest
import torch
from method_steps import TRANSLATION, batches, make, moment
from torch import nn


def fill(network: nn.Module) -> None:
    """Weights that any implementation can be given, parameter by parameter."""
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            wave = torch.cos(torch.arange(p.numel(), dtype=torch.float64) * 0.7 + i)
            p.copy_(wave.view(p.shape) / max(1, p[0].numel()) ** 0.5)


def test_four_steps_of_the_authors_code():
    """Their Solver.train, with one-channel stems, from the same weights, batches and mixes."""
    method = make("brainomaly-paper", *TRANSLATION, double=True)
    for network in method.networks.values():
        fill(network)
    reports = []
    for step in range(4):
        b, a = batches(step)
        reports.append(method.step(b, a, moment(step)))
    assert reports[3]["d_gradient_penalty"].item() == pytest.approx(0.9255, abs=5e-5)
    assert reports[3]["g_adversarial"].item() == pytest.approx(0.2204, abs=5e-5)
    assert reports[3]["g_identity"].item() == pytest.approx(0.2859, abs=5e-5)
    assert "g_identity" not in reports[2]
    finding = method.find(batches(0)[0])
    assert finding.anomaly_map.mean().item() == pytest.approx(0.13915886296961738, rel=1e-9)
    for name, total in (
        ("translator", 448.0948177490056),
        ("discriminator", 129.15461577779672),
    ):
        found = sum(p.abs().sum() for p in method.networks[name].parameters()).item()
        assert found == pytest.approx(total, rel=1e-9), name


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_learns_to_keep_the_healthy(precision):
    method = make(
        "brainomaly", *TRANSLATION, "method.translator.learning_rate=0.002", precision=precision
    )
    found = []
    for step in range(40):
        b, a = (part.float() for part in batches(step % 3))
        found.append(method.step(b, a, moment(step)).get("g_identity"))
    losses = [loss.item() for loss in found if loss is not None]
    assert len(losses) == 20
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])


def test_rates_are_constant_then_fall_to_zero():
    method = make("brainomaly-paper", *TRANSLATION, double=True)
    rates = []
    for fraction in (0.0, 0.75, 0.875, 0.9999):
        method.step(*batches(0), moment(0, fraction))
        rates.append([o.param_groups[0]["lr"] for o in method.optimizers.values()])
    for found, wanted in zip(rates, (1e-4, 1e-4, 0.5e-4, 0.0004e-4), strict=True):
        assert found == pytest.approx([wanted, wanted])


def test_it_is_ready_after_its_first_translator_step():
    method = make("brainomaly", *TRANSLATION, double=True)
    ready = []
    for step in range(3):
        ready.append(method.ready)
        method.step(*batches(step), moment(step))
    assert ready == [False, False, True]
