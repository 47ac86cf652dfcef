import numpy as np
import pytest
import torch

from a2bgan.models.coreset import Reservoir, greedy_k_centre, random_projection


def test_every_point_of_a_stream_is_as_likely_to_be_kept():
    counts = np.zeros(40)
    trials = 4000
    for seed in range(trials):
        reservoir = Reservoir(10, seed)
        for part in torch.arange(40.0)[:, None].split(17):
            reservoir.add(part)
        kept = reservoir.points[:, 0].long().numpy()
        assert len(set(kept)) == 10
        counts[kept] += 1
    # Standard deviation of a share: sqrt(0.25 * 0.75 / 4000) = 0.007.
    np.testing.assert_allclose(counts / trials, 0.25, atol=4 * 0.007)


def test_how_a_stream_is_cut_makes_no_difference():
    samples = []
    for size in (1, 7, 100):
        reservoir = Reservoir(12, 3)
        for part in torch.arange(100.0)[:, None].split(size):
            reservoir.add(part)
        samples.append(reservoir.points)
    assert torch.equal(samples[0], samples[1])
    assert torch.equal(samples[0], samples[2])


def test_a_short_stream_is_kept_whole():
    reservoir = Reservoir(50, 0)
    points = torch.rand(20, 3)
    reservoir.add(points[:15])
    reservoir.add(points[15:])
    assert torch.equal(reservoir.points, points)


def test_greedy_k_centre_takes_the_farthest_each_time():
    points = torch.rand(80, 5, generator=torch.Generator().manual_seed(0)) + 3
    wanted = [4]
    plain = points.double().numpy()
    while len(wanted) < 12:
        gaps = np.linalg.norm(plain[:, None] - plain[None, wanted], axis=2).min(1)
        wanted.append(int(gaps.argmax()))
    assert greedy_k_centre(points, 12, start=4).tolist() == wanted


@pytest.mark.parametrize("points", [torch.rand(6, 2), torch.ones(6, 2)])
def test_no_point_is_taken_twice(points):
    assert sorted(greedy_k_centre(points, 9, start=0).tolist()) == list(range(6))


def test_projection_keeps_distances_about():
    generator = torch.Generator().manual_seed(0)
    points = torch.randn(50, 400, generator=generator)
    ratio = torch.pdist(random_projection(points, 256, generator)) / torch.pdist(points)
    assert abs(ratio.mean() - 1) < 0.02
    assert ratio.std() < 0.06
    assert random_projection(points, 400, generator) is points
