"""What GANomaly, f-AnoGAN and ALAD have in common."""

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric

from a2bgan.data.batches import to_unit_range
from a2bgan.errors import InputError
from a2bgan.training.config import load_config
from a2bgan.training.methods.method import Moment, StepMethod

NAMES = ("ganomaly", "fanogan", "alad")
SMALL = ("data.size=32", "method.width=4", "method.latent=8")


def make(name: str, *settings: str, precision: str = "32-true") -> StepMethod:
    method = load_config(name, None, [*SMALL, *settings]).build_method()
    assert isinstance(method, StepMethod)
    method.prepare(Fabric(accelerator="cpu", devices=1, precision=precision))
    return method


def images(n: int, channels: int = 1) -> np.ndarray:
    """Bright discs of several sizes and places on grey, (n, channels, 32, 32) uint8."""
    rng = np.random.default_rng(0)
    rows, columns = np.mgrid[:32, :32]
    discs = [
        (rows - y) ** 2 + (columns - x) ** 2 < r**2
        for y, x, r in zip(*rng.uniform(10, 20, (2, n)), rng.uniform(5, 9, n), strict=True)
    ]
    return np.repeat(np.where(np.stack(discs), 220, 60)[:, None], channels, 1).astype(np.uint8)


def learn(method: StepMethod, steps: int, fraction: float | None = None) -> list[dict[str, float]]:
    x = to_unit_range(images(32))
    reports = []
    for step in range(steps):
        b = x[torch.randint(32, (6,), generator=torch.Generator().manual_seed(step))]
        part = step / steps if fraction is None else fraction
        numbers = method.step(b, b, Moment(step, part, torch.Generator().manual_seed(step)))
        reports.append({name: number.item() for name, number in numbers.items()})
    return reports


def test_ganomaly_lowers_its_losses():
    reports = learn(make("ganomaly", "method.learning_rate=0.002"), 50)
    assert reports[-1]["g_contextual"] < 0.5 * reports[0]["g_contextual"]
    assert reports[-1]["d_adversarial"] < reports[0]["d_adversarial"]


def test_fanogan_lowers_its_losses():
    method = make("fanogan", "method.gan.learning_rate=0.001", "method.encoder.learning_rate=0.002")
    gan = learn(method, 30, fraction=0.1)
    assert gan[-1]["d_adversarial"] < gan[0]["d_adversarial"]
    assert not method.ready
    encoder = learn(method, 40, fraction=0.9)
    assert method.ready
    for name in ("e_image", "e_features"):
        first, last = (np.mean([r[name] for r in part]) for part in (encoder[:5], encoder[-5:]))
        assert last < 0.9 * first, name


def test_alad_learns_to_judge_and_to_rebuild():
    method = make("alad", "method.learning_rate=0.002")
    x = to_unit_range(images(32))
    before = method.find(x).anomaly_map.mean()
    reports = learn(method, 40)
    assert min(r["d_xz"] for r in reports) < 0.5 * reports[0]["d_xz"]
    assert method.find(x).anomaly_map.mean() < 0.9 * before


@pytest.mark.parametrize("name", NAMES)
def test_training_in_mixed_precision_is_finite_and_judges_in_float32(name):
    method = make(name, precision="bf16-mixed")
    reports = learn(method, 4)
    assert all(np.isfinite([*report.values()]).all() for report in reports)
    finding = method.find(to_unit_range(images(2)))
    assert finding.anomaly_map.dtype == finding.scores[method.facts.score].dtype == torch.float32


@pytest.mark.parametrize("name", NAMES)
def test_sizes_that_do_not_fit_are_said_in_one_line(name):
    with pytest.raises(InputError, match=r"data\.size=96") as caught:
        load_config(name, None, ["data.size=96"]).build_method()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "rate", "batch"), [("ganomaly", 2e-4, 64), ("fanogan", 1e-4, 64), ("alad", 2e-4, 32)]
)
def test_paper_presets_are_the_papers(name, rate, batch):
    paper, fast = load_config(f"{name}-paper"), load_config(name)
    method = paper.method
    found = method.gan if name == "fanogan" else method
    assert found.learning_rate == rate
    assert found.adam_betas == ((0, 0.9) if name == "fanogan" else (0.5, 0.999))
    assert method.width == (128 if name == "alad" else 64)
    assert method.latent == fast.method.latent == (128 if name == "fanogan" else 100)
    assert paper.train.batch_size == batch
    assert paper.holdout == fast.holdout
    assert paper.selection == fast.selection
