import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from a2bgan.detection.measures.fid import FeatureNetwork, set_distances
from a2bgan.detection.measures.translation_quality import (
    load_lpips,
    network_counts,
    perceptual_distance,
)
from a2bgan.errors import InputError
from a2bgan.training.config import load_config


class Moments(FeatureNetwork):
    num_features = 3
    label = "moments"
    side = 16

    def forward(self, x):
        flat = x.flatten(1)
        return torch.stack([flat.mean(1), flat.std(1), x[:, 0, 8, 8]], dim=1)


def test_fid_and_kid_are_those_of_their_definitions():
    rng = torch.Generator().manual_seed(0)
    found, real = (torch.rand(n, 1, 16, 16, generator=rng) * top for n, top in ((40, 1), (30, 0.8)))
    result = set_distances(torch.split(found, 7), torch.split(real, 9), Moments())
    a, b = (Moments()(x).double().numpy() for x in (found, real))
    root = sqrtm(np.cov(a, rowvar=False) @ np.cov(b, rowvar=False)).real
    fid = np.square(a.mean(0) - b.mean(0)).sum() + np.trace(
        np.cov(a, rowvar=False) + np.cov(b, rowvar=False) - 2 * root
    )
    assert result.fid == pytest.approx(fid, rel=1e-4)

    def kernel(x, y):
        return (x @ y.T / 3 + 1) ** 3

    def among(x):
        k = kernel(x, x)
        return (k.sum() - np.trace(k)) / len(x) / (len(x) - 1)

    # The mean of 100 subsets, halves of the smaller set.
    assert result.kid == pytest.approx(
        among(a) + among(b) - 2 * kernel(a, b).mean(), abs=0.3 * result.kid_sd
    )
    assert (result.images, result.features) == ((40, 30), "moments")
    again = set_distances([found], [real], Moments())
    assert (again.fid, again.kid) == pytest.approx((result.fid, result.kid))
    with pytest.raises(InputError, match="FID needs 2 images"):
        set_distances([found[:1]], [real], Moments())


def test_the_spread_of_kid_is_about_its_standard_error():
    """Against the spread of KID over many pairs of sets, each smaller than a usual subset."""
    rng = torch.Generator().manual_seed(1)

    def distances():
        sets = (torch.rand(60, 1, 16, 16, generator=rng) * top for top in (1, 0.8))
        return set_distances(*([images] for images in sets), Moments())

    found = [distances() for _ in range(40)]
    spread = np.std([f.kid for f in found], ddof=1)
    assert 0.6 * spread < np.mean([f.kid_sd for f in found]) < 1.6 * spread
    few = torch.rand(3, 1, 16, 16, generator=rng)
    assert set_distances([few], [few], Moments()).kid_sd is None


def test_images_are_resized_with_antialiasing():
    stripes = torch.ones(4, 1, 120, 120)  # no multiple of 16: else samples lie between two stripes
    stripes[..., ::2] = -1
    flat = torch.zeros(4, 1, 64, 64)
    assert set_distances([stripes], [flat], Moments()).fid < 1e-3


def test_networks_are_counted_as_in_the_papers_table():
    small = ["method.translator.width=2", "method.discriminator.width=2"]
    counts = {
        name: network_counts(load_config(name, None, small).build_method())[:2]
        for name in ("paper", "a2bgan", "stargan", "fixedpointgan", "councilgan", "aclgan")
    }
    assert counts == {
        "paper": (1, 1),
        "a2bgan": (1, 1),  # frozen networks beside them do not count
        "stargan": (1, 1),
        "fixedpointgan": (1, 1),
        "councilgan": (4, 8),
        "aclgan": (2, 3),  # the paper's table leaves out the one of pairs
    }


def test_lpips_takes_the_weights_it_is_given(tmp_path):
    from torchvision.models import alexnet

    torch.manual_seed(0)
    weights = alexnet().state_dict()
    torch.save(weights, tmp_path / "alexnet.pth")
    network = load_lpips(tmp_path / "alexnet.pth")
    x = torch.rand(2, 1, 64, 64)
    assert perceptual_distance(x, x, network) == 0
    assert perceptual_distance(x, 1 - x, network) > 0
    torch.testing.assert_close(
        dict(network.net.named_parameters())["slice2.3.weight"], weights["features.3.weight"]
    )
    torch.save({"a": x}, tmp_path / "other.pth")
    with pytest.raises(InputError, match="not the weights of torchvision's AlexNet"):
        load_lpips(tmp_path / "other.pth")
