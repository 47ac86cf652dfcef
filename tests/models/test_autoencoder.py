import pytest
import torch
from torch import Tensor, nn

from a2bgan.errors import InputError
from a2bgan.models.autoencoder import Autoencoder, Ensemble, VariationalAutoencoder

WIDTHS = (16, 32, 64, 64)


def fill(network: nn.Module) -> None:
    """Weights that any implementation can be given, parameter by parameter."""
    with torch.no_grad():
        for i, p in enumerate(network.parameters()):
            wave = torch.cos(torch.arange(p.numel(), dtype=torch.float64) * 0.7 + i)
            p.copy_(wave.view(p.shape) / max(1, p[0].numel()) ** 0.5)


def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(4, 1, 64, 64, generator=generator, dtype=torch.float64) * 2 - 1


def test_it_is_the_autoencoder_of_ddad():
    """Numbers of the authors' AE(latent_size=16, img_size=64) with the same weights and images."""
    network = Autoencoder(1, 64, WIDTHS, 2048, 16).double()
    assert sum(p.numel() for p in network.parameters()) == 4_487_248
    fill(network)
    assert network(images()).abs().mean().item() == pytest.approx(0.5649616425779647, rel=1e-9)
    found = network.eval()(images())
    assert found.abs().mean().item() == pytest.approx(0.7011273511286324, rel=1e-9)
    assert found.std().item() == pytest.approx(0.71935555086674, rel=1e-9)


@pytest.mark.parametrize(("channels", "size", "widths"), [(1, 32, (4, 4)), (3, 48, (4, 6, 8, 8))])
def test_shapes(channels, size, widths):
    x = torch.rand(2, channels, size, size)
    assert Autoencoder(channels, size, widths, 8, 3)(x).shape == x.shape
    reconstruction, mean, log_variance = VariationalAutoencoder(channels, size, widths, 8, 3)(x)
    assert reconstruction.shape == x.shape
    assert mean.shape == log_variance.shape == (2, 3)


def test_noise_moves_the_code_by_the_deviation():
    network = VariationalAutoencoder(1, 32, (4, 4), 8, 3).double().eval()
    x, noise = torch.rand(2, 1, 32, 32).double(), torch.randn(2, 3).double()
    found = network(x, noise)
    z = found.mean + found.log_variance.exp().sqrt() * noise
    torch.testing.assert_close(found.reconstruction, network.decoder(z))
    torch.testing.assert_close(network(x).reconstruction, network.decoder(found.mean))


def test_a_size_that_cannot_be_halved_so_often():
    with pytest.raises(InputError, match=r"data\.size=36: .* multiple of 16"):
        Autoencoder(1, 36, WIDTHS, 8, 2)


def test_a_batch_of_one_has_no_statistics():
    network = Autoencoder(1, 32, (4, 4), 8, 2)
    with pytest.raises(InputError, match=r"train\.batch_size=1"):
        network(torch.zeros(1, 1, 32, 32))
    assert network.eval()(torch.zeros(1, 1, 32, 32)).shape == (1, 1, 32, 32)


def test_an_ensemble_stacks_what_its_members_say():
    members = [nn.Conv2d(1, 1, 1) for _ in range(3)]
    x = torch.rand(2, 1, 4, 4)
    found = Ensemble(members)(x)
    for k, member in enumerate(members):
        torch.testing.assert_close(found[k], member(x))
