"""A Detector whose training takes a second, and images for it."""

import numpy as np

from a2bgan import Detector

SETTINGS = {
    "method.translator.width": 4,
    "method.translator.blocks": 1,
    "method.discriminator.width": 4,
    "method.discriminator.features": None,
    "method.discriminator.warmup_steps": 2,
    "train.accelerator": "cpu",
    "train.precision": "32-true",
}


def make(**changes) -> Detector:
    settings = changes.pop("settings", {})
    if isinstance(settings, dict):
        settings = {**SETTINGS, **settings}
    own = {"size": 32, "steps": 3, "score_name": "mean", "settings": settings}
    return Detector(**{**own, **changes})


def pictures(n: int, seed: int, shape: tuple[int, ...] = (40, 48)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (n, *shape), dtype=np.uint8)
