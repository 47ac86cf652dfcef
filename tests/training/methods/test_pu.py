import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from torch import Tensor
from torch.nn.functional import interpolate

from a2bgan.errors import InputError
from a2bgan.training.config import load_config, validate_config
from a2bgan.training.methods.method import Moment
from a2bgan.training.methods.pu import PUClassifier, non_negative_risk

SMALL = ("data.size=32", "method.width=4", "train.accelerator=cpu")
PIXELS = "method.backbone=null"
FEATURES = "method.input_size=32"
"""Of the preset's own backbone."""


def make(*settings: str, preset: str = "pu", precision: str = "32-true") -> PUClassifier:
    method = load_config(preset, None, [*SMALL, *settings]).build_method()
    assert isinstance(method, PUClassifier)
    method.prepare(Fabric(accelerator="cpu", devices=1, precision=precision))
    return method


def batches(step: int, diseased: int = 4) -> tuple[Tensor, Tensor]:
    """Eight smooth images (B), and eight of which some have a bright square (A)."""
    generator = torch.Generator().manual_seed(step)
    images = interpolate(torch.rand(16, 1, 3, 3, generator=generator) - 0.5, size=32)
    images[8 : 8 + diseased, :, 8:20, 8:20] = 0.9
    return images[:8], images[8:]


def moment(step: int) -> Moment:
    return Moment(step, 0.3, torch.Generator().manual_seed(step))


def loss(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(z))


@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_the_non_negative_risk_by_hand(shift):
    """Kiryo et al., equation 6 and algorithm 1; a shift of 3 makes the risk of negatives < 0."""
    rng = np.random.default_rng(0)
    p, u, prior = rng.normal(1 + shift, 1, 40), rng.normal(0, 1, 50), 0.7
    if shift:
        u = u - 6
    risk_p = prior * loss(p).mean()
    risk_n = loss(-u).mean() - prior * loss(-p).mean()
    assert (risk_n < 0) == bool(shift)
    tensors = [torch.tensor(z, requires_grad=True) for z in (p, u)]
    risk, objective = non_negative_risk(*tensors, prior)
    assert risk.item() == pytest.approx(risk_p + max(0, risk_n), rel=1e-12)
    objective.backward()
    slope = loss(p) * loss(-p)  # of loss(-z); that of loss(z) is its negative
    of_p = -prior * slope / 40
    expected_p = prior * slope / 40 if risk_n < 0 else of_p + of_p
    np.testing.assert_allclose(tensors[0].grad.numpy(), expected_p, rtol=1e-9)
    of_u = loss(u) * loss(-u) / 50
    np.testing.assert_allclose(tensors[1].grad.numpy(), -of_u if risk_n < 0 else of_u, rtol=1e-9)


def test_the_risk_is_that_of_labels():
    """With enough images the risk is the classification risk, although no negative was labelled."""
    rng = np.random.default_rng(0)
    prior, n = 0.6, 400_000
    positive, negative = rng.normal(1, 1, 2 * n), rng.normal(-1, 1, n)
    unlabelled = np.concatenate([positive[: int(prior * n)], negative[: int((1 - prior) * n)]])
    expected = prior * loss(positive).mean() + (1 - prior) * loss(-negative).mean()
    risk, _ = non_negative_risk(torch.tensor(positive[n:]), torch.tensor(unlabelled), prior)
    assert risk.item() == pytest.approx(expected, abs=2e-3)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("share", ["null", "0.5"])
@pytest.mark.parametrize("network", [PIXELS, FEATURES])
def test_it_learns_which_are_unhealthy(network, share, precision):
    method = make(
        network, f"method.healthy_share={share}", "method.learning_rate=0.003", precision=precision
    )
    steps = 150 if network == PIXELS else 50  # in emulated bfloat16 the backbone's are slow
    risks = [method.step(*batches(step), moment(step))["risk"].item() for step in range(steps)]
    assert np.mean(risks[-10:]) < 0.9 * np.mean(risks[:10])
    _, mixed = batches(1000)
    scores = method.find(mixed).scores["unhealthy"]
    assert scores.shape == (8,)
    assert scores[:4].min() > scores[4:].max()


def test_features_are_frozen_and_their_means_and_maxima_classified():
    method = make(FEATURES)
    assert method.backbone is not None
    before = {name: tensor.clone() for name, tensor in method.backbone.state_dict().items()}
    for step in range(3):
        method.step(*batches(step), moment(step))
    assert set(method.optimizers) == {"classifier"}
    for name, tensor in method.backbone.state_dict().items():
        assert torch.equal(tensor, before[name])
    x = batches(5)[1]
    head = method.networks["classifier"].eval()
    with torch.no_grad():
        maps = [features.flatten(2) for features in method.backbone(x)]
        seen = torch.cat([*(m.mean(2) for m in maps), *(m.max(2).values for m in maps)], 1)
        expected = -head(seen)
    torch.testing.assert_close(method.find(x).scores["unhealthy"], expected)


def test_a_configuration_from_before_there_was_a_backbone_is_of_pixels():
    values = load_config("pu", None, [*SMALL, PIXELS]).model_dump(mode="json")
    for name in ("backbone", "backbone_weights", "input_size"):
        del values["method"][name]
    assert validate_config(values).build_method().backbone is None
    assert load_config("pu-paper").method.backbone is None


def test_the_same_steps_give_the_same_weights():
    methods = [make(FEATURES) for _ in range(2)]
    for method in methods:
        for step in range(2):
            method.step(*batches(step), moment(step))
    one, other = (method.networks["classifier"].state_dict() for method in methods)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_weights_decay_as_in_adam():
    method = make("train.batch_size=8", preset="pu-paper")
    assert method.optimizers["classifier"].param_groups[0]["weight_decay"] == 0.005


@pytest.mark.parametrize("share", [0, 1, 1.5])
def test_a_share_is_a_share(share):
    with pytest.raises(InputError, match=r"method\.healthy_share"):
        make(f"method.healthy_share={share}")
