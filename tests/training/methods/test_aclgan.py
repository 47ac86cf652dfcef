import copy

import pytest
import torch
from method_steps import STYLED, assert_falls, assert_same_weights, batches, make, moment, squares

from a2bgan.errors import InputError
from a2bgan.training.config import load_config


def test_the_papers_steps():
    """The released trainer's losses in plain float64, with masks bounded image by image."""
    method = make("aclgan-paper", *STYLED, "data.channels=1", double=True)
    nets = {name: copy.deepcopy(network) for name, network in method.networks.items()}
    to_b, to_a = nets["translator_b"], nets["translator_a"]
    d_b, d_a, d_2 = (nets[f"discriminator_{name}"] for name in ("b", "a", "pair"))

    def adam(*networks):
        parameters = [p for network in networks for p in network.parameters()]
        return torch.optim.Adam(parameters, 1e-4, (0.5, 0.999), weight_decay=1e-4)

    adam_g, adam_d = adam(to_b, to_a), adam(d_b, d_a, d_2)
    for step in range(4):
        healthy, x = batches(step)
        generator = torch.Generator().manual_seed(step)
        z = torch.randn(3, 4, 3, generator=generator, dtype=torch.float64)
        there = to_b(x, [z[0]])[0]
        first, back = to_a(x, [z[1]])[0], to_a(there.healthy, [z[2]])[0]
        fakes = [made.healthy.detach() for made in (there, first, back)]
        pairs = [torch.cat([x, fake], 1) for fake in fakes[1:]]
        loss = squares(d_b(fakes[0]), 0) + squares(d_b(healthy), 1)
        for fake in fakes[1:]:
            loss = loss + 0.5 * (squares(d_a(fake), 0) + squares(d_a(x), 1))
        loss = loss + 0.2 * (squares(d_2(pairs[0]), 0) + squares(d_2(pairs[1]), 1))
        adam_d.zero_grad()
        loss.backward()
        adam_d.step()
        if step % 2:
            total = squares(d_b(there.healthy), 1)
            total = total + 0.5 * (squares(d_a(first.healthy), 1) + squares(d_a(back.healthy), 1))
            pairs = [torch.cat([x, made.healthy], 1) for made in (first, back)]
            total = total + 0.2 * (squares(d_2(pairs[0]), 1) + squares(d_2(pairs[1]), 0))
            total = total + (to_a(x, [None])[0].intermediate - x).abs().mean()
            total = total + (to_b(healthy, [None])[0].intermediate - healthy).abs().mean()
            pixels = 32 * 32
            for made in (there, first, back):
                for mask in made.masks:
                    above = torch.relu((mask - 0.5).sum()) ** 2
                    below = torch.relu((0.3 - mask).sum()) ** 2
                    focus = 0.001 * (above + below) + (1 / ((mask - 0.5).abs() + 0.01)).sum()
                    total = total + 0.025 * focus / pixels / 4 / 3
            adam_g.zero_grad()
            total.backward()
            adam_g.step()
        method.step(healthy, x, moment(step, 0.1))
    for name, network in nets.items():
        assert_same_weights(method.networks[name], network, 1e-6, 1e-7)


def test_counts_and_sizes_are_the_papers():
    """Of the released networks; 54.9 million in all, as its paper says."""
    method = load_config("aclgan-paper").build_method()
    sizes = {
        name: sum(p.numel() for p in network.parameters())
        for name, network in method.networks.items()
    }
    assert sizes == {
        "translator_b": 15_029_324,
        "translator_a": 15_029_324,
        "discriminator_b": 8_271_171,
        "discriminator_a": 8_271_171,
        "discriminator_pair": 8_280_387,
    }


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_losses_fall(precision):
    method = make("aclgan", *STYLED, "method.learning_rate=0.001", precision=precision)
    found = [
        method.step(*(0.2 * part.float() for part in batches(step % 3)), moment(step, 0.1))
        for step in range(40)
    ]
    assert_falls(found, "d_adversarial", "g_identity")


def test_twins_change_where_the_mask_is_and_no_image_depends_on_another():
    method = make("aclgan", *STYLED)
    x = torch.cat([*batches(0)]).float()
    together, alone = method.find(x), method.find(x[2:3])
    torch.testing.assert_close(together.anomaly_map[2:3], alone.anomaly_map)
    style = method.networks["translator_b"].fixed.expand(8, -1)
    (found,) = method.networks["translator_b"](x, [style])
    mask = found.masks
    torch.testing.assert_close(together.mask, mask[:, 0].detach())
    expected = (found.intermediate * mask + x * (1 - mask)).detach()
    torch.testing.assert_close(together.twin, expected)


@pytest.mark.parametrize("preset", ["aclgan", "councilgan"])
@pytest.mark.parametrize(("size", "most"), [(32, 5), (36, 6), (64, 6)])
def test_more_scales_than_an_image_has_are_refused(preset, size, most):
    def build(scales):
        settings = (f"data.size={size}", f"method.discriminator.scales={scales}")
        return load_config(preset, None, [*STYLED, *settings]).build_method()

    network = next(
        n for name, n in build(most).networks.items() if name.startswith("discriminator")
    )
    assert (
        len(network(torch.zeros(1, network.scales[0][0].convolution.in_channels, size, size)))
        == most
    )
    with pytest.raises(
        InputError, match=rf"scales={most + 1}: images of {size} x {size} .* {most}"
    ):
        build(most + 1)


def test_bounds_of_masks_are_in_order():
    bounds = ("method.loss.focus_lower=0.6", "method.loss.focus_upper=0.5")
    with pytest.raises(InputError, match=r"focus_lower \(0.6\) must not be above focus_upper"):
        load_config("aclgan", None, bounds)
