"""Features of the training images as they are, drawn at random."""

import numpy as np
import torch
from torch import Tensor

from a2bgan.models.backbone import Backbone
from a2bgan.training.feature_cache import cached_features

MOST_IMAGES = 1500
"""At most so many images of a set are looked at."""


class RawFeatures:
    """A backbone's cached features of one set of images.

    Args:
        images: (N, C, H, W) uint8 or uint16; `MOST_IMAGES` of them are drawn once.
        backbone: gives the features; on ``device``.
    """

    def __init__(self, images: np.ndarray, backbone: Backbone, device: torch.device) -> None:
        self.device = device
        self.maps = cached_features(at_most(images, MOST_IMAGES), backbone, device=device)

    def draw(self, count: int, generator: torch.Generator) -> list[Tensor]:
        """Features (count, channels, h, w) of each stride of images drawn at random.

        The maps of half of them are mirrored, which is nearly what mirrored images have.
        """
        total = len(self.maps[0])
        rows = torch.randint(total, (count,), generator=generator, device=generator.device)
        mirrored = torch.rand(count, generator=generator, device=generator.device) < 0.5
        where = mirrored.to(self.device)[:, None, None, None]
        drawn = []
        for maps in self.maps:
            chosen = torch.from_numpy(maps[rows.cpu().numpy()]).to(self.device).float()
            drawn.append(torch.where(where, chosen.flip(3), chosen))
        return drawn


def at_most(images: np.ndarray, most: int) -> np.ndarray:
    """The images (N, ...), or so many of them: the same rows for all arrays of that length."""
    if len(images) <= most:
        return images
    return images[np.sort(np.random.default_rng(0).choice(len(images), most, replace=False))]
