import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from skimage import data

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.measures.fid import EfficientNet, FeatureNetwork, HealthyFeatures, Inception
from a2bgan.errors import InputError
from a2bgan.training.config import load_config


class Moments(FeatureNetwork):
    """Three features that can be computed by hand."""

    num_features = 3
    label = "moments"

    def forward(self, x):
        flat = x.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1), flat[:, 0]], dim=1)


def images(n: int, seed: int, top: int = 255) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, top, (n, 1, 32, 32), dtype=np.uint8)


@pytest.fixture
def method():
    settings = [
        "data.size=32", "method.translator.width=4", "method.translator.ema=0.9",
        "method.discriminator.width=4", "method.discriminator.features=null",
    ]  # fmt: skip
    method = load_config("fast", None, settings).build_method()
    method.networks["translator_ema"].head.bias.data[:] = 0.3
    return method


def test_agrees_with_the_definition_in_float64(method):
    mixed, healthy = images(70, 0), images(50, 1, top=200)
    twins = method.translate(to_unit_range(mixed)).healthy
    a, b = (Moments()(x).double().numpy() for x in (twins, to_unit_range(healthy)))
    mixed_term = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    expected = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * mixed_term
    )
    features = HealthyFeatures(healthy, Moments(), method.device)
    found = features.distance(method, mixed)
    assert found == pytest.approx(expected, rel=1e-4)
    assert features.distance(method, mixed, "raw") != pytest.approx(found)
    assert features.distance(method, mixed) == pytest.approx(found)


def test_efficientnet_tells_pictures_apart_and_says_what_it_is():
    network = EfficientNet()
    grey = to_unit_range(data.camera()[None, None])
    with torch.no_grad():
        features = network(grey)
        noisy = network((grey + 0.1 * torch.randn(grey.shape)).clamp(-1, 1))
        other = network(to_unit_range(data.coffee().transpose(2, 0, 1)[None]))
    assert features.shape == (1, network.num_features)
    assert torch.dist(features, noisy) < torch.dist(features, other)
    assert "EfficientNet-Lite0" in network.label


def test_weights_that_are_missing_or_foreign_are_said_in_one_line(tmp_path):
    with pytest.raises(InputError, match=r"fetch weights-inception.* leave out --inc") as caught:
        Inception(tmp_path / "none.pth")
    assert "\n" not in str(caught.value)
    foreign = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, foreign)
    with pytest.raises(InputError, match="not the weights of Inception") as caught:
        Inception(foreign)
    assert "\n" not in str(caught.value)


def first_input(network: Inception, x: torch.Tensor) -> torch.Tensor:
    """What the first convolution of the network sees."""
    seen: list[torch.Tensor] = []

    def stop(_, inputs):
        seen.append(inputs[0])
        raise InterruptedError

    handle = network.network.Conv2d_1a_3x3.register_forward_pre_hook(stop)
    with pytest.raises(InterruptedError):
        network(x)
    handle.remove()
    return seen[0]


def test_inception_sees_images_as_pytorch_fid_or_as_clean_fid_resizes_them(tmp_path, monkeypatch):
    extractor = "torch_fidelity.feature_extractor_inceptionv3.FeatureExtractorInceptionV3"
    monkeypatch.setattr(f"{extractor}.load_state_dict", lambda *_: None)
    weights = tmp_path / "weights.pth"
    torch.save({}, weights)
    levels = np.random.default_rng(0).integers(0, 256, (2, 3, 800, 800), dtype=np.uint8)
    x = to_unit_range(levels)

    paper = Inception(weights, "pytorch-fid")
    # Bilinear with two neighbours, centres of pixels half a pixel from the edge.
    places = np.clip((np.arange(299) + 0.5) * 800 / 299 - 0.5, 0, 799)
    low = np.floor(places).astype(int)
    part = places - low
    high = np.minimum(low + 1, 799)
    values = levels / 255
    rows = values[:, :, low] * (1 - part[:, None]) + values[:, :, high] * part[:, None]
    expected = 2 * (rows[..., low] * (1 - part) + rows[..., high] * part) - 1
    # Places are float32; a level of 8 bits is 0.008.
    np.testing.assert_allclose(first_input(paper, x).numpy(), expected, atol=3e-4)

    clean = Inception(weights)
    seen = first_input(clean, x).numpy()
    assert np.std(seen) < 0.9 * np.std(expected)  # averaged over more than two neighbours
    np.testing.assert_allclose(seen * 128 + 128, np.rint(seen * 128 + 128), atol=1e-4)
    assert paper.label == "Inception v3, resized as pytorch-fid does"
    assert clean.label == "Inception v3, resized as clean FID does"


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    class Code:
        def __reduce__(self):
            return (print, ("run",))

    torch.save(Code(), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="not the weights of Inception"):
        Inception(tmp_path / "weights.pth")
