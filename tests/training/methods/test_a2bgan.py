"""The training step against a plain one, written out from the equations in float64."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.detection.detect import score_of
from a2bgan.errors import InputError
from a2bgan.models.blend import difference_map
from a2bgan.models.texture import TextureEnergies
from a2bgan.training.config import load_config
from a2bgan.training.methods.a2bgan import A2BGAN, READER, TEXTURE
from a2bgan.training.methods.method import Moment

SMALL = (
    "data.size=32",
    "data.crop_top=0",
    "method.translator.width=3",
    "method.translator.blocks=1",
    "method.discriminator.width=3",
    "method.discriminator.depth=2",
    "method.candidates=1",
    "method.map_evidence=false",
)


def make(preset: str, *settings: str) -> A2BGAN:
    """A small method of a preset in float64."""
    method = load_config(preset, None, [*SMALL, *settings]).build_method()
    assert isinstance(method, A2BGAN)
    for network in method.networks.values():
        network.double()
    method.prepare(Fabric(accelerator="cpu", devices=1))
    return method


def batches(step: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(100 + step)
    b, a = torch.rand(2, 4, 1, 32, 32, generator=generator, dtype=torch.float64) * 2 - 1
    return b, a


def moment(step: int, fraction: float = 0.3) -> Moment:
    return Moment(step, fraction, torch.Generator().manual_seed(step))


class Plain:
    """Separate passes for everything, as the paper writes it."""

    def __init__(self, method: A2BGAN, rate_g: float, rate_d: float) -> None:
        self.g = copy.deepcopy(method.networks["translator"])
        self.d = copy.deepcopy(method.networks["discriminator"])
        self.adam_g = torch.optim.Adam(self.g.parameters(), rate_g, (0.5, 0.999), foreach=False)
        self.adam_d = torch.optim.Adam(self.d.parameters(), rate_d, (0.5, 0.999), foreach=False)

    def descend(self, adam: torch.optim.Adam, loss: Tensor) -> None:
        self.adam_g.zero_grad()
        self.adam_d.zero_grad()
        loss.backward()
        adam.step()

    def translate(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        _, b, m = self.g(x)
        return b * m + x * (1 - m), b, m


def paper_step(plain: Plain, b: Tensor, a: Tensor, step: int, focus_size: float) -> None:
    mix = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(step))
    fake = plain.translate(a)[0].detach()
    between = (mix * b + (1 - mix) * fake).requires_grad_(True)
    gradient = torch.autograd.grad(plain.d(between).sum(), between, create_graph=True)[0]
    penalty = ((gradient.reshape(4, -1).pow(2).sum(1).sqrt() - 1) ** 2).mean()
    plain.descend(plain.adam_d, plain.d(fake).mean() - plain.d(b).mean() + 10 * penalty)
    if step % 2 == 0:
        return
    twin_a, inter_a, m_a = plain.translate(a)
    twin_b, inter_b, m_b = plain.translate(b)
    focus = 0
    for m in (m_a, m_b):
        size = (m.flatten(1).mean(1) ** 2).mean()
        focus = focus + (focus_size * size + (1 / ((m - 0.5).abs() + 0.01)).mean()) / 2
    loss = -plain.d(twin_a).mean() - plain.d(twin_b).mean()
    loss = loss + F.l1_loss(inter_b, b) + F.l1_loss(a * m_a + inter_a * (1 - m_a), a) + 0.1 * focus
    plain.descend(plain.adam_g, loss)


def assert_same_weights(method: A2BGAN, plain: Plain) -> None:
    for name, network in (("translator", plain.g), ("discriminator", plain.d)):
        for p, q in zip(method.networks[name].parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize(("preset", "focus_size"), [("paper", 1.0), ("paper-simulated", 0.001)])
def test_the_papers_step(preset, focus_size):
    method = make(preset)
    plain = Plain(method, 1e-4, 1e-4)
    before = [p.clone() for p in plain.g.parameters()]
    for step in range(4):
        b, a = batches(step)
        method.step(b, a, moment(step))
        paper_step(plain, b, a, step, focus_size)
        if step == 0:  # one G step for every two D steps, and the first of them is D's alone
            assert all(
                torch.equal(p, q)
                for p, q in zip(before, method.networks["translator"].parameters(), strict=True)
            )
    assert not torch.equal(before[0], next(iter(plain.g.parameters())))
    assert_same_weights(method, plain)


def test_the_fast_step_with_warm_up_replay_and_texture():
    settings = ("warmup_steps=2", "texture_width=3")
    method = make("fast", *(f"method.discriminator.{setting}" for setting in settings))
    plain = Plain(method, 8e-4, 5e-4)
    copies = {name: copy.deepcopy(method.networks[name]) for name in (TEXTURE, READER)}
    energies = TextureEnergies().double()
    adams = {
        name: torch.optim.Adam(copies[name].parameters(), 5e-4, (0.5, 0.999), foreach=False)
        for name in (TEXTURE, READER)
    }
    softplus = nn.functional.softplus

    def descend_texture(name: str, b: Tensor, *others: Tensor) -> None:
        copies[name].refer_to(energies(b))
        adams[name].zero_grad()
        fake = [softplus(copies[name](energies(other))).mean() for other in others]
        (softplus(-copies[name](energies(b))).mean() + torch.stack(fake).mean()).backward()
        adams[name].step()

    for step in range(5):
        b, a = batches(step)
        method.step(b, a, moment(step, fraction=step / 20))
        adams[TEXTURE].param_groups[0]["lr"] = 5e-4 if step < 2 else 1e-4
        descend_texture(READER, b, a)
        if step < 2:
            loss = softplus(-plain.d(b)).mean() + softplus(plain.d(a)).mean()
            plain.descend(plain.adam_d, loss)
            descend_texture(TEXTURE, b, a)
            continue
        plain.adam_d.param_groups[0]["lr"] = 1e-4
        fake = plain.translate(a)[0].detach()
        others = (softplus(plain.d(a)).mean() + softplus(plain.d(fake)).mean()) / 2
        plain.descend(plain.adam_d, softplus(-plain.d(b)).mean() + others)
        descend_texture(TEXTURE, b, a, fake)
        twin_a, inter_a, m_a = plain.translate(a)
        twin_b, inter_b, m_b = plain.translate(b)
        m = torch.cat([m_a, m_b])
        focus = 0.1 * (m.flatten(1).mean(1) ** 2).mean() + (1 / ((m - 0.5).abs() + 0.01)).mean()
        loss = softplus(-plain.d(twin_a)).mean() + softplus(-plain.d(twin_b)).mean()
        for twin in (twin_a, twin_b):
            loss = loss + softplus(-copies[TEXTURE](energies(twin))).mean()
        loss = loss + 10 * F.l1_loss(inter_b, b)
        loss = loss + F.l1_loss(a * m_a + inter_a * (1 - m_a), a) + 0.02 * focus
        loss = loss + 5 * (F.l1_loss(twin_a, a) + F.l1_loss(twin_b, b)) / 2
        plain.descend(plain.adam_g, loss)
    assert_same_weights(method, plain)
    for name, network in copies.items():
        for p, q in zip(method.networks[name].parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    found = method.find(torch.cat([b, a])).scores
    of_images = energies(torch.cat([b, a]))
    expected = -copies[READER](of_images).float().mean(dim=(1, 2, 3))
    torch.testing.assert_close(found["texture"], expected)


def test_the_translator_gets_the_mixed_images_that_are_least_like_healthy_ones():
    method = make("fast", "method.candidates=4")
    assert method.batches_per_step == 4
    energies = TextureEnergies().double()(torch.cat([batches(step)[1] for step in range(4)]))
    verdicts = method.networks[READER](energies).flatten(1).mean(1).tolist()
    lowest = sorted(range(16), key=lambda row: verdicts[row])[:4]
    assert method._most_suspect(energies, 4).tolist() == lowest


def test_the_reader_sees_the_mixed_set_as_it_is():
    """Only what G translates is chosen: else the reader would learn the choice."""
    method = make("fast", "method.discriminator.warmup_steps=0", "method.candidates=2")
    reader = copy.deepcopy(method.networks[READER])
    b, a = (torch.cat(pair) for pair in zip(batches(0), batches(1), strict=True))
    method.step(b, a, moment(0))
    energies = TextureEnergies().double()
    reader.refer_to(energies(b))
    rate = method.config.discriminator.warmup_learning_rate
    adam = torch.optim.Adam(reader.parameters(), rate, (0.5, 0.999))
    of_b, of_a = reader(energies(b)), reader(energies(a))
    (F.softplus(-of_b).mean() + F.softplus(of_a).mean()).backward()
    adam.step()
    for p, q in zip(reader.parameters(), method.networks[READER].parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def test_the_reader_ends_before_it_knows_its_images_by_heart():
    method = make("fast", "method.discriminator.reader_passes=10", "method.candidates=2")
    b, a = (torch.cat(pair) for pair in zip(batches(0), batches(1), strict=True))
    rates, learned = [], []
    # At least a hundred steps, however small the sets; afterwards the images passed count.
    for step, passes in ((0, 0.0), (50, 90.0), (75, 90.0), (100, 90.0), (2000, 7.5), (2000, 10.0)):
        before = copy.deepcopy(method.networks[READER].state_dict())
        report = method.step(b, a, dataclasses.replace(moment(step), passes=passes))
        rates.append(method.optimizers[READER].param_groups[0]["lr"])
        after = method.networks[READER].state_dict()
        learned.append(any(not torch.equal(before[name], after[name]) for name in before))
        assert learned[-1] == ("d_reader" in report)
        assert "d_texture" in report
    whole = method.config.discriminator.warmup_learning_rate
    assert rates == pytest.approx([whole, whole, whole / 2, 0, whole / 2, 0])
    assert learned == [True, True, True, False, True, False]


def test_a_score_of_what_was_not_trained_is_refused():
    method = make("fast", "method.discriminator.texture_width=0")
    finding = method.find(batches(0)[0])
    torch.testing.assert_close(
        score_of(finding, "discriminator"),
        -method.networks["discriminator"](batches(0)[0]).float().mean(dim=(1, 2, 3)),
    )
    with pytest.raises(InputError, match="trained without it"):
        score_of(finding, "texture")


def test_a_texture_discriminator_needs_a_loss_that_needs_no_penalty():
    with pytest.raises(InputError, match="logistic"):
        load_config("paper", None, ["method.discriminator.texture_width=8"])


@pytest.mark.parametrize("setting", ["candidates=2", "map_evidence=true"])
def test_what_asks_the_reader_of_texture_needs_one(setting):
    with pytest.raises(InputError, match=r"need discriminator\.texture_width; without it set"):
        load_config("paper", None, [f"method.{setting}"])


def test_rates_are_constant_then_fall_to_zero():
    method = make("paper")
    b, a = batches(0)
    rates = []
    for fraction in (0.0, 0.5, 0.75, 0.875, 0.9999):
        method.step(b, a, moment(0, fraction))
        rates.append({o.param_groups[0]["lr"] for o in method.optimizers.values()})
    expected = (1e-4, 1e-4, 1e-4, 0.5e-4, 0.0004e-4)
    for found, wanted in zip(rates, expected, strict=True):
        assert list(found) == [pytest.approx(wanted)]


@pytest.mark.parametrize(
    ("settings", "learning_at"),
    [
        (("method.discriminator.warmup_steps=0",), [0, 1, 2, 3, 4, 5, 6, 7]),
        # Steps in which G stays as it is are not averaged over.
        (("method.discriminator.warmup_steps=0", "method.discriminator.steps=2"), [1, 3, 5, 7]),
        (("method.discriminator.warmup_steps=4",), [4, 5, 6, 7]),
    ],
)
def test_the_average_follows_the_translator_update_by_update(settings, learning_at):
    method = make("fast", "method.translator.ema=0.2", *settings)
    average = copy.deepcopy(method.networks["translator_ema"])
    for step in range(8):
        method.step(*batches(step), moment(step, 0.1))
        if step in learning_at:
            newest = max(0.8, 1 / (1 + 0.1 * learning_at.index(step)))  # 1, 0.91, 0.83, 0.8, ...
            weights = method.networks["translator"].parameters()
            for p, q in zip(average.parameters(), weights, strict=True):
                p.data = (1 - newest) * p.data + newest * q.data
    found = method.networks["translator_ema"].parameters()
    for p, q in zip(average.parameters(), found, strict=True):
        torch.testing.assert_close(p, q)


def test_twins_come_from_the_average_and_stay_in_range():
    method = make("fast", "method.translator.ema=0.9")
    method.networks["translator_ema"].head.bias.data[:] = 0.7
    twin = method.translate(batches(0)[0]).healthy
    assert twin.max() == 1
    assert not twin.requires_grad


@pytest.mark.parametrize("evidence", [False, True])
def test_verdicts_are_computed_once_and_when_asked_for(monkeypatch, evidence):
    settings = ("discriminator.texture_width=3", f"map_evidence={evidence}")
    method = make("fast", *(f"method.{setting}" for setting in settings))
    asked = []
    doubts = method._doubts
    monkeypatch.setattr(method, "_doubts", lambda *of: asked.append(of[-1]) or doubts(*of))
    finding = method.find(torch.cat(batches(0)))
    assert asked == [READER] * evidence
    assert set(finding.scores) == {"discriminator", "texture"} and "mean" not in finding.scores
    assert not score_of(finding, "texture").requires_grad
    assert asked == [READER]


def test_the_map_counts_as_far_as_texture_speaks_for_disease(monkeypatch):
    x = torch.cat(batches(0))
    bare, weighed = (make("fast", f"method.map_evidence={said}") for said in (False, True))
    for method in (bare, weighed):
        method.networks["translator"].head.bias.data[0] = 0.7  # else nothing is changed
    certain = torch.tensor([40.0, 40.0, -40.0, -40.0], dtype=x.dtype).expand(len(x), 1, 4, 4)
    monkeypatch.setattr(weighed, "_doubts", lambda *_: certain)
    raw, found = bare.find(x).anomaly_map, weighed.find(x).anomaly_map
    assert raw is not None and found is not None
    quarter = x.shape[-1] // 4  # beyond, one verdict fades into the other
    torch.testing.assert_close(found[..., :quarter], raw[..., :quarter])
    assert found[..., -quarter:].max() < 1e-9 < raw[..., -quarter:].min()
    # A reader that cannot tell gives the same half to all.
    monkeypatch.setattr(weighed, "_doubts", lambda *_: torch.zeros_like(certain))
    undecided = weighed.find(x).anomaly_map
    torch.testing.assert_close(undecided, raw / 2)


def test_gaps_of_the_map_are_filled_before_it_is_smoothed(monkeypatch):
    x = torch.cat(batches(0))
    twin = x.clone()
    twin[:, :, 8:20, 8:20] = (twin[:, :, 8:20, 8:20] + 0.5).clamp(-1, 1)
    twin[:, :, 12:14] = x[:, :, 12:14]  # as grey as before, though within what has changed
    found = []
    for closing in (0, 0.03125, 0.0625):
        method = make("fast", f"method.map_closing={closing}", "method.map_evidence=false")
        monkeypatch.setattr(method, "translate", lambda *_: (twin, twin, torch.ones_like(x)))
        found.append(method.find(x).anomaly_map)
    for reach, after in zip((0, 1, 2), found, strict=True):
        closed = ndimage.grey_closing(difference_map(x, twin).numpy(), (1, *2 * [2 * reach + 1]))
        expected = ndimage.gaussian_filter(closed, (0, 1, 1), mode="mirror")
        np.testing.assert_allclose(after.numpy(), expected, rtol=1e-5, atol=1e-8)
    assert found[1][:, 12:14, 10:18].mean() > 2 * found[0][:, 12:14, 10:18].mean()


def test_the_map_is_smoothed_and_its_mean_stays():
    x = torch.cat(batches(0))
    found = []
    for sigma in (0, 0.03125):
        method = make("fast", f"method.map_smoothing={sigma}", "method.map_closing=0")
        method.networks["translator"].head.bias.data[0] = 0.7  # else nothing is changed
        finding = method.find(x)
        assert finding.anomaly_map is not None
        found.append(finding.anomaly_map)
    raw, smooth = found
    expected = ndimage.gaussian_filter(raw.numpy(), (0, 1, 1), mode="mirror")
    np.testing.assert_allclose(smooth.numpy(), expected, rtol=1e-6, atol=1e-9)
    assert smooth.std() < raw.std()
    torch.testing.assert_close(smooth.mean(), raw.mean(), rtol=0.05, atol=0)


@pytest.mark.parametrize(
    ("averages", "word"),
    [
        ({"mask_mean": 0.001, "d_gap": 1.0, "d_adversarial": 1.0}, "closed"),
        ({"mask_mean": 0.99, "d_gap": 1.0, "d_adversarial": 1.0}, "open everywhere"),
        ({"mask_mean": 0.3, "d_gap": 0.0, "d_adversarial": 1.4}, "no longer tells"),
        ({"mask_mean": 0.3, "d_gap": 9.0, "d_adversarial": 1e-4}, "always right"),
    ],
)
def test_a_collapse_is_said_in_words_with_what_to_try(averages, word):
    warning = make("fast", "method.translator.intermediate=tanh").diagnose(averages)
    assert warning is not None
    assert word in warning
    assert "method." in warning


def test_a_healthy_training_is_left_in_peace():
    method = make("fast")
    assert method.diagnose({"mask_mean": 0.1, "d_gap": 0.5, "d_adversarial": 1.2}) is None
    assert method.diagnose({"d_gap": 0.0, "d_adversarial": 1.4}) is None  # still warming up
    # An open mask does not hide a residual change.
    assert method.diagnose({"mask_mean": 0.99, "d_gap": 0.5, "d_adversarial": 1.2}) is None


@pytest.mark.parametrize("preset", ["paper", "fast"])
def test_neither_networks_step_reaches_the_other(preset):
    """D's gradients are those of a step without G's; G's are those against the new D."""
    settings = ("method.discriminator.warmup_steps=0", "method.discriminator.steps=2")
    both, alone = make(preset, *settings), make(preset, *settings)
    b, a = batches(0)
    both.step(b, a, Moment(1, 0.3, torch.Generator().manual_seed(0)))
    alone.step(b, a, Moment(0, 0.3, torch.Generator().manual_seed(0)))
    found, expected = (method.networks["discriminator"].parameters() for method in (both, alone))
    for p, q in zip(found, expected, strict=True):
        assert p.requires_grad
        assert torch.count_nonzero(p.grad)
        torch.testing.assert_close(p.grad, q.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)
    assert all(p.grad is None for p in alone.networks["translator"].parameters())
    assert any(torch.count_nonzero(p.grad) for p in both.networks["translator"].parameters())


def test_where_d_learns_alone_only_a_is_translated():
    method = make("paper")
    seen = []
    translator = method.networks["translator"]
    translator.register_forward_hook(lambda _, inputs, out: seen.append(len(inputs[0])))
    for step in range(4):
        method.step(*batches(0), moment(step))
    assert seen == [4, 8, 4, 8]


def test_a_short_training_is_not_all_warm_up():
    method = make("fast", "method.discriminator.warmup_steps=1000")
    b, a = batches(0)
    assert "g_identity" not in method.step(b, a, moment(10, fraction=0.24))
    assert "g_identity" in method.step(b, a, moment(11, fraction=0.26))


@pytest.mark.parametrize("steps", [1, 2])
def test_the_warm_up_ends_when_the_discriminator_is_certain(steps):
    settings = ("warmup_steps=1000", "texture_width=0", "warmup_learning_rate=0.01")
    settings = (*settings, f"steps={steps}")
    method = make("fast", *(f"method.discriminator.{setting}" for setting in settings))
    b, a = batches(0)
    report = [method.step(b, a, moment(step, fraction=0.1)) for step in range(51)]
    assert not any("g_identity" in numbers for numbers in report)  # alike: nothing is certain
    began = next(
        step
        for step in range(51, 1000)
        if "g_identity" in method.step(b - 3, a + 3, moment(step, fraction=0.1))
    )
    assert began % 50 == 0
    # And it stays so, whatever D says.
    after = [method.step(b, a, moment(began + step, fraction=0.1)) for step in (1, 2)]
    assert any("g_identity" in numbers for numbers in after)
    assert method.optimizers["discriminator"].param_groups[0]["lr"] == 1e-4


def test_gradient_penalties_work_in_mixed_precision():
    penalties = ("method.loss.gradient_penalty=10", "method.loss.real_gradient_penalty=1")
    method = load_config("paper", None, [*SMALL, *penalties]).build_method()
    method.prepare(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    b, a = (x.float() for x in batches(0))
    report = method.step(b, a, moment(0))
    assert all(torch.isfinite(number) for number in report.values())
    assert float(report["d_gradient_penalty"]) > 0


def test_the_reader_s_verdicts_are_log_odds_whatever_the_game_is():
    made = [
        make("fast", f"method.loss.adversarial={kind}", "method.map_evidence=true")
        for kind in ("logistic", "hinge")
    ]
    for step in range(3):
        logistic, hinge = (m.step(*batches(step), moment(step)) for m in made)
        assert hinge["d_reader"] == logistic["d_reader"]
        assert hinge["d_texture"] != logistic["d_texture"]
    pairs = zip(*(m.networks[READER].parameters() for m in made), strict=True)
    assert all(torch.equal(p, q) for p, q in pairs)
