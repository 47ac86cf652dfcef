"""Image-level anomaly scores: one number for each anomaly map, higher means more abnormal."""

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from a2bgan.errors import InputError
from a2bgan.models.map_filters import gaussian_smooth
from a2bgan.training.methods.method import Facts

SMOOTHING = 1 / 32
"""Sigma of `smooth-max`, as a fraction of the map's shorter side (2 pixels at 64 x 64)."""

TOP_FRACTION = 0.05
"""Share of a map's pixels that `top-k` averages."""


def mean(anomaly_map: Tensor, mask: Tensor | None) -> Tensor:
    """Mean over all pixels: the paper's score (section 3.3)."""
    return anomaly_map.mean(dim=(1, 2))


def smooth_max(anomaly_map: Tensor, mask: Tensor | None) -> Tensor:
    """Maximum of the map after Gaussian smoothing, with sigma = shorter side / 32.

    Smoothing keeps one noisy pixel from deciding the score; a compact lesion is not diluted by the
    healthy rest of the image, as it is in the mean. Borders are mirrored, so that a lesion at the
    edge counts like any other.
    """
    sigma = SMOOTHING * min(anomaly_map.shape[1:])
    smooth = gaussian_smooth(anomaly_map, sigma)
    return smooth.amax(dim=(1, 2))


def top_k(anomaly_map: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the highest 5 % of the pixels (rounded up to whole pixels)."""
    pixels = anomaly_map.flatten(start_dim=1)
    count = math.ceil(TOP_FRACTION * pixels.shape[1])
    return pixels.topk(count, dim=1, sorted=False).values.mean(dim=1)


def mask_weighted(anomaly_map: Tensor, mask: Tensor | None) -> Tensor:
    """``sum(m * d) / sum(m)``: mean of the map over the region the generator chose to repaint.

    0 where the mask is zero everywhere: nothing was repainted, so nothing is abnormal.

    Raises:
        InputError: there is no mask (the method's generator does not make one).
    """
    if mask is None:
        raise InputError(
            "score 'mask-weighted' needs a method with a mask, and this one has none: "
            "choose another score"
        )
    weight = mask.sum(dim=(1, 2))
    weighted = (mask * anomaly_map).sum(dim=(1, 2))
    return weighted / weight.clamp_min(torch.finfo(weight.dtype).tiny)


SCORES: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "mean": mean,
    "smooth-max": smooth_max,
    "top-k": top_k,
    "mask-weighted": mask_weighted,
}
"""Scores by name; each takes a map (N, H, W), 0 or more, and the generator's mask of the same
shape in [0, 1], or None, and returns (N,). The first paragraph of a function's docstring is written
into exported files, as the definition of their score."""


def scores_of(facts: Facts) -> tuple[str, ...]:
    """Names of all scores that a method offers, its paper's first."""
    of_map = tuple(SCORES) if facts.makes_map else ()
    others = [name for name in (*facts.own_scores, *of_map) if name != facts.score]
    return (facts.score, *others)


def check_score(name: str, facts: Facts) -> None:
    """Raises InputError unless a method offers the score."""
    if name not in scores_of(facts):
        raise InputError(f"unknown score {name!r}: {facts.title} has {', '.join(scores_of(facts))}")


def map_scores(
    anomaly_map: Tensor, mask: Tensor | None, wanted: Sequence[str] | None = None
) -> dict[str, Tensor]:
    """Image scores (N,) of maps, higher is more abnormal, by name.

    Args:
        anomaly_map: (N, H, W), 0 or more.
        mask: the generator's masks, (N, H, W), in [0, 1]; None where the method has none.
        wanted: keys of `SCORES`; by default all that are possible with or without a mask.

    Raises:
        InputError: a wanted score needs a mask and there is none.
        ValueError: the shapes are not (N, H, W), or differ.
    """
    if anomaly_map.ndim != 3 or (mask is not None and mask.shape != anomaly_map.shape):
        raise ValueError(
            f"map and mask must share one (N, H, W) shape; got {tuple(anomaly_map.shape)} "
            f"and {None if mask is None else tuple(mask.shape)}"
        )
    if wanted is None:
        wanted = [name for name in SCORES if name != "mask-weighted" or mask is not None]
    return {name: SCORES[name](anomaly_map, mask) for name in wanted}
