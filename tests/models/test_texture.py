import math

import numpy as np
import pytest
import torch
from scipy.signal import correlate2d

from a2bgan.models.texture import (
    CELL,
    DIRECTIONS,
    SCALES,
    TextureDiscriminator,
    TextureEnergies,
    gabor_filters,
    over_pixels,
    separate,
)


def test_energies_are_those_of_a_plain_filtering():
    image = np.random.default_rng(0).uniform(-1, 1, (32, 40))
    found = TextureEnergies().double()(torch.from_numpy(image)[None, None])[0].numpy()
    assert found.shape == (1 + len(SCALES) * DIRECTIONS, 4, 5)
    cells = image.reshape(4, CELL, 5, CELL)
    np.testing.assert_allclose(found[0], cells.mean(axis=(1, 3)))
    for number, sigma in enumerate(SCALES):
        filters = gabor_filters(sigma)[:, 0].double().numpy()
        padded = np.pad(image, filters.shape[-1] // 2, mode="reflect")
        step = 1 if sigma == 1 else 2
        for direction in range(DIRECTIONS):
            even, odd = (
                correlate2d(padded, filters[2 * direction + k], mode="valid")[::step, ::step]
                for k in (0, 1)
            )
            energy = (even**2 + odd**2).reshape(4, CELL // step, 5, CELL // step).mean(axis=(1, 3))
            expected = np.log(energy + 1e-3)
            # The filters' separate parts are float32.
            energies = found[1 + DIRECTIONS * number + direction]
            np.testing.assert_allclose(energies, expected, rtol=1e-5, atol=1e-5)


def test_separate_convolutions_do_what_the_filters_do():
    x = torch.randn(2, 1, 30, 26, dtype=torch.float64)
    filters = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    for rank in (2, 5):
        u, s, v = torch.linalg.svd(filters.reshape(20, 5), full_matrices=False)
        low = ((u[:, :rank] * s[:rank]) @ v[:rank]).reshape(4, 1, 5, 5)
        rows, columns = separate(low)
        assert (rows.shape, columns.shape) == ((rank, 1, 1, 5), (4, rank, 5, 1))
        once = torch.nn.functional.conv2d(x, low)
        torch.testing.assert_close(
            torch.nn.functional.conv2d(torch.nn.functional.conv2d(x, rows), columns), once
        )


@pytest.mark.parametrize("scale", range(len(SCALES)))
@pytest.mark.parametrize("direction", [0, 2, 5])
def test_a_wave_stands_out_at_its_scale_and_direction(scale, direction):
    angle = math.pi * direction / DIRECTIONS
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    phase = 2 * math.pi * (x * math.cos(angle) + y * math.sin(angle)) * 3 / (8 * SCALES[scale])
    energies = TextureEnergies()(0.5 * torch.sin(phase)[None, None])[0, 1:]
    assert int(energies[:, 4, 4].argmax()) == DIRECTIONS * scale + direction


def test_a_constant_has_no_texture():
    energies = TextureEnergies()(torch.full((1, 3, 32, 32), 0.7))
    torch.testing.assert_close(energies[:, 0], torch.full((1, 4, 4), 0.7))
    torch.testing.assert_close(energies[:, 1:], torch.full((1, 18, 4, 4), math.log(1e-3)))


def test_what_comes_in_is_compared_with_mean_and_spread_of_all_batches():
    torch.manual_seed(0)
    network = TextureDiscriminator(4).double()
    x = torch.randn(12, 1, 32, 32, dtype=torch.float64)
    energies = network.energies(x)
    for batch in energies.split(4):
        network.refer_to(batch)
    of_channels = energies.transpose(0, 1).flatten(1)
    torch.testing.assert_close(network.mean.flatten(), of_channels.mean(1))
    spread = of_channels.std(1, correction=0) + 0.05
    z = (energies - of_channels.mean(1)[:, None, None]) / spread[:, None, None]
    expected = network.head(network.body(z))
    assert expected.shape == (12, 1, 4, 4)
    torch.testing.assert_close(network(energies), expected)


def test_it_learns_a_texture_that_means_cannot_tell():
    torch.manual_seed(0)
    network = TextureDiscriminator(16)
    adam = torch.optim.Adam(network.parameters(), 0.003)

    def pair() -> tuple[torch.Tensor, torch.Tensor]:
        healthy, rough = torch.randn(2, 16, 1, 32, 32)
        rough[:, :, 8:16, 8:16] *= 1.5
        return network.energies(healthy), network.energies(rough)

    for _ in range(100):
        healthy, rough = pair()
        network.refer_to(healthy)
        loss = torch.nn.functional.softplus(network(rough) - network(healthy)).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
    healthy, rough = pair()
    cells = network(healthy) - network(rough)
    assert (cells.mean(dim=(1, 2, 3)) > 0).float().mean() > 0.85


@pytest.mark.parametrize("contrast", [1.0, 0.01, 0.0])
def test_mixed_precision_hardly_reaches_the_energies(contrast):
    x = 0.8 + contrast * (torch.rand(2, 1, 32, 32) - 0.5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = TextureEnergies()(x)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, TextureEnergies()(x), atol=0.03, rtol=0)


def test_cells_lie_over_their_pixels():
    cells = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)[None, None]
    found = over_pixels(cells, 20, 16)[0, 0]
    expected = np.interp(np.arange(16), (3.5, 11.5), (0, 1))  # the centres of cells
    np.testing.assert_allclose(found.numpy(), np.tile(expected, (20, 1)), atol=1e-12)
    upright = over_pixels(cells.mT, 16, 20)[0, 0]
    np.testing.assert_allclose(upright.numpy(), np.tile(expected[:, None], (1, 20)), atol=1e-12)
