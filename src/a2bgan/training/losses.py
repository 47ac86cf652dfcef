"""The objective, one pure function an equation. Means are over everything unless noted."""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Adversarial = Literal["wgan-gp", "logistic"]
FocusSquared = Literal["none", "image", "batch"]


def discriminator_adversarial(kind: Adversarial, real: Tensor, fake: Tensor) -> Tensor:
    """Loss that D minimises, from its outputs (any shape) on healthy and on other images.

    ``wgan-gp`` is equation 3, mean D(G(A)) - mean D(B); `gradient_penalty` (eq. 4) comes on top.
    ``logistic`` is the non-saturating loss of Goodfellow 2014.
    """
    if kind == "wgan-gp":
        return fake.mean() - real.mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def least_healthy(outputs: Tensor, share: float) -> Tensor:
    """The lowest outputs (N, k) of each image's (N, ...): k is ``share`` of them, at least 1.

    An image then counts by its least healthy places (multiple-instance learning, Maron &
    Lozano-Perez 1997), not by what is the same all over it.
    """
    places = outputs.flatten(1)
    if share == 1:
        return places
    return places.topk(max(1, round(share * places.shape[1])), dim=1, largest=False).values


def translator_adversarial(kind: Adversarial, fake: Tensor) -> Tensor:
    """Loss that G minimises, from D's outputs on one translated set: a term of equation 5's sum.

    ``-mean D`` for ``wgan-gp``; softplus(-D) for ``logistic``.
    """
    return F.softplus(-fake).mean() if kind == "logistic" else -fake.mean()


def gradient_penalty(
    discriminator: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, mix: Tensor
) -> Tensor:
    """The penalty of equation 4: mean (||grad D(x)||_2 - 1)^2 at x = mix real + (1 - mix) fake.

    Args:
        discriminator: D; its outputs are summed over each image's patches.
        real: healthy images (N, C, H, W).
        fake: translated images (N, C, H, W).
        mix: (N, 1, 1, 1), uniform in [0, 1].
    """
    x = (mix * real.detach() + (1 - mix) * fake.detach()).requires_grad_(True)
    (gradient,) = torch.autograd.grad(discriminator(x).sum(), x, create_graph=True)
    norm = gradient.flatten(1).norm(dim=1)
    penalty: Tensor = (norm - 1).square().mean()
    return penalty


def identity(intermediate: Tensor, healthy: Tensor) -> Tensor:
    """Equation 6: mean |b_B - B| on the intermediate image of a healthy one."""
    return (intermediate - healthy).abs().mean()


def reconstruction(mixed: Tensor, reconstructed: Tensor) -> Tensor:
    """Equation 7: mean |A - r_A|, with r from equation 2."""
    return (mixed - reconstructed).abs().mean()


def focus_size(mask: Tensor, squared: FocusSquared = "image") -> Tensor:
    """Size term of equation 8, of one set's masks (N, 1, H, W).

    The paper prints the mean of the mask, which is ``none``. Its released code squares the mean
    over all masks of the batch (``batch``); ``image`` squares each image's mean, then averages.
    """
    if squared == "none":
        return mask.mean()
    if squared == "batch":
        return mask.mean().square()
    return mask.mean(dim=(1, 2, 3)).square().mean()


def focus_indecision(mask: Tensor) -> Tensor:
    """Second term of equation 8: mean 1 / (|m - 0.5| + 0.01), large where a mask is undecided."""
    return (1 / ((mask - 0.5).abs() + 0.01)).mean()


def focus(
    masks: Sequence[Tensor], size: float, indecision: float, squared: FocusSquared = "image"
) -> Tensor:
    """Equation 8, averaged over the masks (N, 1, H, W) of several sets: small and decided masks.

    ``size`` and ``indecision`` are lambda_fs and lambda_fz; ``squared`` as in `focus_size`.
    """
    sizes = torch.stack([focus_size(mask, squared) for mask in masks]).sum() / len(masks)
    undecided = torch.stack([focus_indecision(mask) for mask in masks]).sum() / len(masks)
    return size * sizes + indecision * undecided


def change(x: Tensor, healthy: Tensor) -> Tensor:
    """Mean |x' - x|: a price on every change, so that only what pays is changed (not the paper's).

    What a mask is for, without its threshold: where mask and intermediate image learn together, a
    mask that begins open does not close again.
    """
    return (healthy - x).abs().mean()


def least_squares(outputs: Sequence[Tensor], wanted: float) -> Tensor:
    """Mao 2017: mean (D(x) - wanted)^2, summed over a discriminator's scales; 1 is real."""
    terms = [(output - wanted).square().mean() for output in outputs]
    return torch.stack(terms).sum()


def total_variation(mask: Tensor) -> Tensor:
    """Absolute differences of neighbours in masks (N, K, H, W), summed, over their pixels."""
    down, across = mask.diff(dim=2).abs().sum(), mask.diff(dim=3).abs().sum()
    return (down + across) / mask.numel()


def mask_outside(mask: Tensor, lower: float, upper: float) -> Tensor:
    """Squared distance of each mask's mean from [lower, upper], averaged over images (ACL-GAN).

    ``mask`` is (N, 1, H, W).
    """
    mean = mask.mean(dim=(1, 2, 3))
    return (F.relu(mean - upper).square() + F.relu(lower - mean).square()).mean()
