"""Each loss against a second computation, in float64, with numpy."""

import numpy as np
import pytest
import torch

from a2bgan.training import losses

RNG = np.random.default_rng(0)
REAL, FAKE = RNG.normal(size=(2, 5, 1, 4, 4))
MASK = RNG.uniform(size=(5, 1, 6, 6))
X, Y = RNG.uniform(-1, 1, (2, 5, 3, 6, 6))


def t(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(array)


def test_equation_3():
    expected = np.mean(FAKE) - np.mean(REAL)
    assert losses.discriminator_adversarial("wgan-gp", t(REAL), t(FAKE)).item() == pytest.approx(
        expected
    )


def test_the_logistic_discriminator_loss():
    def sigmoid(v):
        return 1 / (1 + np.exp(-v))

    expected = -np.mean(np.log(sigmoid(REAL))) - np.mean(np.log(1 - sigmoid(FAKE)))
    found = losses.discriminator_adversarial("logistic", t(REAL), t(FAKE)).item()
    assert found == pytest.approx(expected)


def test_equation_5_and_its_logistic_form():
    assert losses.translator_adversarial("wgan-gp", t(FAKE)).item() == pytest.approx(-FAKE.mean())
    expected = -np.mean(np.log(1 / (1 + np.exp(-FAKE))))
    assert losses.translator_adversarial("logistic", t(FAKE)).item() == pytest.approx(expected)


@pytest.mark.parametrize(("share", "count"), [(1, 16), (0.5, 8), (0.2, 3), (0.01, 1)])
def test_the_least_healthy_places_are_the_lowest_of_each_image(share, count):
    found = losses.least_healthy(t(REAL), share)
    expected = np.sort(REAL.reshape(5, 16), axis=1)[:, :count]
    np.testing.assert_array_equal(np.sort(found.numpy(), axis=1), expected)


def test_only_the_least_healthy_places_teach():
    outputs = t(REAL).clone().requires_grad_(True)
    losses.least_healthy(outputs, 0.2).sum().backward()
    third = np.sort(REAL.reshape(5, 16), axis=1)[:, 2].reshape(5, 1, 1, 1)
    np.testing.assert_array_equal(outputs.grad.numpy(), third >= REAL)


def quadratic(x: torch.Tensor) -> torch.Tensor:
    """sum x^2 / 2, whose gradient is x itself."""
    return (x.square() / 2).sum(dim=(1, 2, 3))


def test_equation_4_where_the_gradient_is_known():
    mix = RNG.uniform(size=(5, 1, 1, 1))
    between = mix * X + (1 - mix) * Y
    norms = np.sqrt((between**2).sum(axis=(1, 2, 3)))
    found = losses.gradient_penalty(quadratic, t(X), t(Y), t(mix))
    assert found.item() == pytest.approx(np.mean((norms - 1) ** 2))


def test_equation_4_against_finite_differences():
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, 2, 1), torch.nn.LeakyReLU(0.01), torch.nn.Conv2d(4, 1, 3)
    ).double()
    mix = RNG.uniform(size=(5, 1, 1, 1))
    between = mix * X + (1 - mix) * Y
    step = 1e-6
    penalties = []
    for image in between:
        gradient = np.zeros_like(image)
        for place in np.ndindex(image.shape):
            moved = np.stack([image, image])
            moved[0][place] += step
            moved[1][place] -= step
            high, low = network(t(moved)).sum(dim=(1, 2, 3)).tolist()
            gradient[place] = (high - low) / (2 * step)
        penalties.append((np.linalg.norm(gradient) - 1) ** 2)
    found = losses.gradient_penalty(network, t(X), t(Y), t(mix))
    assert found.item() == pytest.approx(np.mean(penalties), rel=1e-5)


def test_equations_6_and_7_and_the_change():
    expected = np.abs(X - Y).mean()
    for loss in (losses.identity, losses.reconstruction, losses.change):
        assert loss(t(X), t(Y)).item() == pytest.approx(expected)


def test_equation_8():
    sizes, undecided = [], []
    masks = (MASK, MASK[:2] ** 2)
    for mask in masks:
        sizes.append(np.mean(mask.reshape(len(mask), -1).mean(axis=1) ** 2))
        undecided.append(np.mean(1 / (np.abs(mask - 0.5) + 0.01)))
        assert losses.focus_size(t(mask)).item() == pytest.approx(sizes[-1])
        assert losses.focus_indecision(t(mask)).item() == pytest.approx(undecided[-1])
    expected = 0.3 * np.mean(sizes) + 2 * np.mean(undecided)
    assert losses.focus([t(mask) for mask in masks], 0.3, 2).item() == pytest.approx(expected)


@pytest.mark.parametrize(("squared", "power"), [("none", 1), ("batch", 2)])
def test_the_size_term_as_printed_and_as_released(squared, power):
    masks = (MASK, MASK[:2] ** 2)
    sizes = [np.mean(mask) ** power for mask in masks]
    for mask, size in zip(masks, sizes, strict=True):
        assert losses.focus_size(t(mask), squared).item() == pytest.approx(size)
    undecided = [np.mean(1 / (np.abs(mask - 0.5) + 0.01)) for mask in masks]
    expected = 0.3 * np.mean(sizes) + 2 * np.mean(undecided)
    found = losses.focus([t(mask) for mask in masks], 0.3, 2, squared)
    assert found.item() == pytest.approx(expected)
