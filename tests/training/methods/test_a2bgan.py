"""The training step against a plain one, written out from the equations in float64."""

import copy

import method_steps
import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from method_steps import batches, moment
from scipy import ndimage
from torch import Tensor, nn
from torch.nn import functional as F

from a2bgan.detection.detect import score_of
from a2bgan.errors import InputError
from a2bgan.models.blend import difference_map
from a2bgan.models.evidence import EvidenceOutput
from a2bgan.training.config import load_config
from a2bgan.training.methods.a2bgan import A2BGAN
from a2bgan.training.methods.a2bgan_extensions import FEATURES
from a2bgan.training.methods.method import EVIDENCE, Moment
from a2bgan.training.training_sets import TrainingSets

SMALL = (
    "data.size=32",
    "data.crop_top=0",
    "method.translator.width=3",
    "method.translator.blocks=1",
    "method.discriminator.width=3",
    "method.discriminator.depth=2",
)
PIXELS = "method.discriminator.features=null"
OF_FEATURES = tuple(
    f"method.discriminator.features.{setting}" for setting in ("input_size=64", "evidence_size=64")
)
SIZE = 32


def make(preset: str, *settings: str, features: bool = False) -> A2BGAN:
    """A small method of a preset in float64, of pixels or of features."""
    chosen = OF_FEATURES if features else (PIXELS,)
    return method_steps.make(preset, *SMALL, *chosen, *settings, double=True)


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

    def outputs(self, x: Tensor) -> list[Tensor]:
        return [self.d(x)]


SIZE_TERMS = {
    "paper": lambda m: m.mean(),
    "paper-simulated": lambda m: 0.001 * m.mean(),
    "healthygan": lambda m: (m.sum() / m.numel()) ** 2,
}
"""lambda_fs times the size term of equation 8: as printed, and as released."""


def paper_step(plain: Plain, b: Tensor, a: Tensor, step: int, preset: str) -> dict[str, float]:
    """One step of the authors; returns the losses by the names of the method's report."""
    mix = torch.rand(4, 1, 1, 1, generator=torch.Generator().manual_seed(step))
    fake = plain.translate(a)[0].detach()
    between = (mix * b + (1 - mix) * fake).requires_grad_(True)
    gradient = torch.autograd.grad(plain.d(between).sum(), between, create_graph=True)[0]
    penalty = ((gradient.reshape(4, -1).pow(2).sum(1).sqrt() - 1) ** 2).mean()
    adversarial = plain.d(fake).mean() - plain.d(b).mean()
    report = {"d_adversarial": adversarial, "d_gradient_penalty": penalty}
    plain.descend(plain.adam_d, adversarial + 10 * penalty)
    if step % 2 == 0:
        return {name: loss.item() for name, loss in report.items()}
    twin_a, inter_a, m_a = plain.translate(a)
    twin_b, inter_b, m_b = plain.translate(b)
    focus = 0
    for m in (m_a, m_b):
        focus = focus + (SIZE_TERMS[preset](m) + (1 / ((m - 0.5).abs() + 0.01)).mean()) / 2
    report |= {
        "g_adversarial": -plain.d(twin_a).mean() - plain.d(twin_b).mean(),
        "g_identity": F.l1_loss(inter_b, b),
        "g_reconstruction": F.l1_loss(a * m_a + inter_a * (1 - m_a), a),
        "g_focus": focus,
    }
    kept = report["g_identity"] + report["g_reconstruction"]
    plain.descend(plain.adam_g, report["g_adversarial"] + kept + 0.1 * focus)
    return {name: loss.item() for name, loss in report.items()}


def assert_same_weights(method: A2BGAN, plain: Plain) -> None:
    for name, network in (("translator", plain.g), ("discriminator", plain.d)):
        for p, q in zip(method.networks[name].parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("preset", SIZE_TERMS)
def test_the_papers_step(preset):
    """Every loss of D and G, and the weights after Adam; healthygan is the released code's step."""
    method = make(preset)
    plain = Plain(method, 1e-4, 1e-4)
    before = [p.clone() for p in plain.g.parameters()]
    released = preset == "healthygan"
    for step in range(6):
        b, a = batches(step, channels=3 if released else 1)
        late = step >= 4  # the rates of the text then fall; those of the code hardly do
        for adam in (plain.adam_g, plain.adam_d):
            adam.param_groups[0]["lr"] = 0.4e-4 if late and not released else 1e-4
        found = method.step(b, a, moment(step, 0.9 if late else 0.3))
        expected = paper_step(plain, b, a, step, preset)
        for name, loss in expected.items():
            assert found[name].item() == pytest.approx(loss, rel=1e-9), (step, name)
        if step == 0:  # one G step for every two D steps, and the first of them is D's alone
            assert all(
                torch.equal(p, q)
                for p, q in zip(before, method.networks["translator"].parameters(), strict=True)
            )
    assert not torch.equal(before[0], next(iter(plain.g.parameters())))
    assert_same_weights(method, plain)


class PlainFeatures(Plain):
    """D judges by the least healthy twentieth of places, by features relative to their image."""

    def __init__(self, method: A2BGAN, rate_g: float, rate_d: float) -> None:
        super().__init__(method, rate_g, rate_d)
        self.backbone = method.networks[FEATURES].backbone
        seen = self.centred(torch.cat(batches(7)))
        self.spreads = [(f**2).mean(dim=(0, 2, 3)).sqrt()[:, None, None] + 1e-3 for f in seen]

    def centred(self, x: Tensor) -> list[Tensor]:
        return [f - f.mean(dim=(2, 3), keepdim=True) for f in self.backbone(x)]

    def outputs(self, x: Tensor) -> list[Tensor]:
        found = []
        for number, f in enumerate(self.centred(x)):
            out = self.d.critics[number](f / self.spreads[number])
            places = out.flatten(1).sort(dim=1).values
            found.append(places[:, : max(1, round(0.05 * places.shape[1]))])
        return found


@pytest.mark.parametrize("features", [False, True])
def test_the_fast_step_with_warm_up_and_replay(features):
    warm_up = f"method.discriminator.warmup_steps={0 if features else 2}"
    method = make("fast", warm_up, "method.translator.coarsening=2", features=features)
    if features:
        method.networks[FEATURES].set_spreads(
            method.networks[FEATURES].backbone(torch.cat(batches(7)))
        )
    plain = (PlainFeatures if features else Plain)(method, 4e-4, 2e-4)
    softplus = nn.functional.softplus

    def total(sign: int, x: Tensor) -> Tensor:
        return torch.stack([softplus(sign * out).mean() for out in plain.outputs(x)]).sum()

    for step in range(5):
        b, a = batches(step)
        report = method.step(b, a, moment(step, fraction=step / 20))
        if step < 2 and not features:
            assert "g_identity" not in report
            plain.descend(plain.adam_d, total(-1, b) + total(1, a))
            continue
        fake = plain.translate(a)[0].detach()
        plain.descend(plain.adam_d, total(-1, b) + (total(1, a) + total(1, fake)) / 2)
        twin_a, inter_a, m_a = plain.translate(a)
        twin_b, inter_b, m_b = plain.translate(b)
        m = torch.cat([m_a, m_b])
        focus = 0.1 * (m.flatten(1).mean(1) ** 2).mean() + (1 / ((m - 0.5).abs() + 0.01)).mean()
        loss = total(-1, twin_a) + total(-1, twin_b)
        loss = loss + 10 * F.l1_loss(inter_b, b)
        loss = loss + F.l1_loss(a * m_a + inter_a * (1 - m_a), a) + 0.02 * focus
        loss = loss + 5 * (F.l1_loss(twin_a, a) + F.l1_loss(twin_b, b)) / 2
        plain.descend(plain.adam_g, loss)
    assert_same_weights(method, plain)


def test_the_beginning_fits_evidence_and_warms_the_critics_up(tmp_path, monkeypatch):
    monkeypatch.setenv("A2BGAN_CACHE", str(tmp_path))
    rng = np.random.default_rng(0)
    b, a = rng.integers(0, 120, (2, 12, 1, 32, 32), dtype=np.uint8)
    a[:, :, 8:20, 8:20] += 120
    sets = TrainingSets.of(b, a, None)
    method = make("fast", "method.discriminator.warmup_steps=30", features=True)
    for network in method.networks.values():
        network.float()
    before = copy.deepcopy(method.networks["discriminator"].state_dict())
    method.begin(sets, resumed=False)
    learned = copy.deepcopy(method.networks["discriminator"].state_dict())
    assert any(not torch.equal(value, before[name]) for name, value in learned.items())
    assert method.networks[EVIDENCE].reliability.max() > 0.9
    assert "AUROC" in method.learned
    # A resumed run learns nothing here; its weights come from the checkpoint.
    method.begin(sets, resumed=True)
    for name, value in method.networks["discriminator"].state_dict().items():
        assert torch.equal(value, learned[name])


def test_frozen_features_stay_as_they_are():
    method = make("fast", "method.discriminator.warmup_steps=0", features=True)
    before = copy.deepcopy(method.networks[FEATURES].backbone.state_dict())
    for step in range(2):
        method.step(*batches(step), moment(step))
    assert set(method.optimizers) == {"translator", "discriminator"}
    for name, value in method.networks[FEATURES].backbone.state_dict().items():
        assert torch.equal(value, before[name])


def test_a_score_of_what_was_not_trained_is_refused():
    method = make("fast")
    finding = method.find(batches(0)[0])
    torch.testing.assert_close(
        score_of(finding, "discriminator"),
        -method.networks["discriminator"](batches(0)[0]).float().mean(dim=(1, 2, 3)),
    )
    with pytest.raises(InputError, match="trained without it"):
        score_of(finding, "evidence")


def test_the_score_of_critics_is_their_mean_over_places_and_scales():
    method = make("fast", "method.discriminator.warmup_steps=0", features=True)
    method.step(*batches(0), moment(0))
    x = batches(1)[1]
    with torch.no_grad():
        outs = method.networks["discriminator"](method.networks[FEATURES](x))
    assert [out.shape[-1] for out in outs] == [8, 4, 2]
    expected = -sum(out.flatten(1).mean(1) for out in outs) / 3
    torch.testing.assert_close(
        score_of(method.find(x), "discriminator"), expected.float(), rtol=1e-5, atol=1e-6
    )


def test_features_need_a_loss_without_a_penalty():
    with pytest.raises(InputError, match=r"needs loss\.adversarial = 'logistic'"):
        load_config("fast", None, ["method.loss.adversarial=wgan-gp"])
    load_config("fast", None, ["method.loss.adversarial=wgan-gp", PIXELS])


@pytest.mark.parametrize(("size", "coarsening", "of"), [(36, "2", 8), (200, "3", 12)])
def test_a_size_that_coarsening_cannot_take_is_refused(size, coarsening, of):
    words = rf"data.size={size}: method.translator.coarsening=.* needs a multiple of {of}"
    with pytest.raises(InputError, match=words):
        make("fast", f"data.size={size}", f"method.translator.coarsening={coarsening}")


@pytest.mark.parametrize(("size", "coarsening"), [(32, 1), (64, 1), (128, 2), (132, 1), (256, 4)])
def test_by_default_the_translator_works_on_a_grid_of_about_64(size, coarsening):
    method = make("fast", f"data.size={size}")
    assert method.networks["translator"].coarsening == coarsening


@pytest.mark.parametrize(
    ("reliability", "trust"), [(0.5, 0.0), (0.6, 0.0), (0.65, 0.5), (0.9, 1.0)]
)
def test_the_default_score_adds_evidence_to_the_map_as_far_as_it_is_trusted(reliability, trust):
    method = make("fast", features=True)
    assert method.default_score == "combined"
    evidence = method.networks[EVIDENCE]
    evidence.focal_weight.normal_(0, 0.01)
    evidence.error.fill_(0.1)
    evidence.reliability.copy_(torch.tensor([0.4, reliability]))
    evidence.weights.copy_(torch.tensor([0.7, 0.3]))
    x = batches(1)[0]
    found = method.find(x)
    highest = np.array([np.log(max(m.max(), 1e-6)) for m in found.anomaly_map.numpy()])
    expected = 0.7 * highest + 0.5 * trust * found.scores["evidence"].numpy()
    np.testing.assert_allclose(found.scores["combined"].numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("preset", ["fast", "paper"])
def test_without_evidence_the_default_score_is_the_papers(preset):
    assert make(preset).default_score == "mean"


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


def test_the_discriminator_is_asked_when_its_score_is(monkeypatch):
    method = make("fast", features=True)
    asked = []
    score = method._discriminator_score
    monkeypatch.setattr(method, "_discriminator_score", lambda x: asked.append(len(x)) or score(x))
    finding = method.find(torch.cat(batches(0)))
    assert (
        set(finding.scores) == {"discriminator", "evidence", "combined"}
        and "mean" not in finding.scores
    )
    assert not score_of(finding, "evidence").requires_grad
    assert asked == []
    assert not score_of(finding, "discriminator").requires_grad
    assert asked == [8]


def test_the_map_counts_as_far_as_evidence_speaks_for_disease(monkeypatch):
    x = torch.cat(batches(0))
    raw_weights = "method.translator.ema=0"
    bare, weighed = make("fast", raw_weights), make("fast", raw_weights, features=True)
    for method in (bare, weighed):
        method.networks["translator"].head.bias.data[0] = 0.7  # else nothing is changed
    weighed.networks["translator"].load_state_dict(bare.networks["translator"].state_dict())
    odds = torch.linspace(-3, 4, 8 * 16, dtype=x.dtype).view(8, 4, 4)
    scores = torch.arange(8.0)
    found = EvidenceOutput(odds, scores, scores, scores)
    monkeypatch.setattr(weighed.networks[EVIDENCE], "forward", lambda _: found)
    raw, finding = bare.find(x).anomaly_map, weighed.find(x)
    assert raw is not None and finding.anomaly_map is not None and raw.min() > 0
    at_pixels = F.interpolate(odds[:, None], (SIZE, SIZE), mode="bilinear")[:, 0].numpy()
    expected = raw.numpy() / (1 + np.exp(-2 * at_pixels))
    np.testing.assert_allclose(finding.anomaly_map.numpy(), expected, rtol=1e-9)
    assert torch.equal(score_of(finding, "evidence"), scores)


def test_gaps_of_the_map_are_filled_before_it_is_smoothed(monkeypatch):
    x = torch.cat(batches(0))
    twin = x.clone()
    twin[:, :, 8:20, 8:20] = (twin[:, :, 8:20, 8:20] + 0.5).clamp(-1, 1)
    twin[:, :, 12:14] = x[:, :, 12:14]  # as grey as before, though within what has changed
    found = []
    for closing in (0, 0.03125, 0.0625):
        method = make("fast", f"method.map_closing={closing}")
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
        smoothing = f"method.map_smoothing={sigma}"
        method = make("fast", smoothing, "method.map_closing=0", "method.translator.ema=0")
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


@pytest.mark.parametrize(
    ("preset", "features"), [("paper", False), ("fast", False), ("fast", True)]
)
def test_neither_networks_step_reaches_the_other(preset, features):
    """D's gradients are those of a step without G's; G's are those against the new D."""
    settings = ("method.discriminator.warmup_steps=0", "method.discriminator.steps=2")
    both, alone = (make(preset, *settings, features=features) for _ in range(2))
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


def test_the_gradient_penalty_works_in_mixed_precision():
    method = load_config("paper", None, SMALL).build_method()
    method.prepare(Fabric(accelerator="cpu", devices=1, precision="bf16-mixed"))
    b, a = (x.float() for x in batches(0))
    report = method.step(b, a, moment(0))
    assert all(torch.isfinite(number) for number in report.values())
    assert float(report["d_gradient_penalty"]) > 0
