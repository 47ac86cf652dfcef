"""Diseases of phantom chests: each returns its cover of the lung (0 to 1) and its density."""

from collections.abc import Callable

import numpy as np
from scipy.ndimage import uniform_filter

from a2bgan.data.generate.chest import Chest, Lung, smooth_noise
from a2bgan.data.generate.shapes import Field, soft

Rng = np.random.Generator


def _focal_opacity(rng: Rng, chest: Chest) -> tuple[Field, float]:
    """A nodule, mass or consolidation: a rounded, slightly irregular spot with a soft edge."""
    size = chest.aerated.shape[0]
    radius = rng.uniform(0.15, 0.29)
    # Room: how much of a square about the pixel is lung that neither heart nor diaphragm hides.
    room = uniform_filter(chest.aerated, max(3, round(radius * size / 2)))
    places = np.flatnonzero(room >= min(0.9, 0.98 * float(room.max())))
    place = places[rng.integers(places.size)]
    du, dv = chest.view.u - chest.view.u.flat[place], chest.view.v - chest.view.v.flat[place]
    around = np.arctan2(dv, du)
    rim = np.ones_like(du)
    for lobe in (2, 3, 5):
        rim += rng.uniform(0, 0.10) * np.cos(lobe * around + rng.uniform(0, 2 * np.pi))
    spot = soft(radius * rim - np.sqrt(du**2 + dv**2), rng.uniform(0.04, 0.09))
    return spot * _cage(chest.lungs) * np.float32(
        rng.uniform(0.9, 1.0)
    ), chest.tissue_density + 0.05


def _diffuse_opacity(rng: Rng, chest: Chest) -> tuple[Field, float]:
    """Patchy clouding over much of one lung or both, heavier towards the base."""
    size = chest.aerated.shape[0]
    both = rng.random() < 0.5
    clouded = chest.lungs if both else (chest.lungs[rng.integers(2)],)
    region = _cage(clouded)
    patches = smooth_noise(rng, size, 8) + 0.4 * smooth_noise(rng, size, 18)
    for lung in clouded:
        patches += 1.5 * lung.inside * lung.depth
    share = rng.uniform(0.22, 0.32) if both else rng.uniform(0.42, 0.56)
    edge = np.quantile(patches[region * chest.aerated > 0.5], 1 - share)
    cover = soft(patches - edge, 0.6) * region
    return cover * np.float32(rng.uniform(0.85, 1.0)), chest.tissue_density


def _cage(lungs: tuple[Lung, ...]) -> Field:
    return np.asarray(np.max([lung.cage for lung in lungs], axis=0), np.float32)


def _enlarged_heart(rng: Rng, chest: Chest) -> tuple[Field, float]:
    """Cardiomegaly: the same heart, 40 to 60 % wider."""
    widened = chest.heart.inside(chest.view, rng.uniform(1.4, 1.6))
    return widened * _cage(chest.lungs), chest.tissue_density


def _effusion(rng: Rng, chest: Chest) -> tuple[Field, float]:
    """Fluid in the pleural space of one side: it fills the angle and climbs along the wall."""
    lung = chest.lungs[rng.integers(2)]
    across = np.clip(lung.lateral / lung.width, 0, 1)
    surface = lung.base - rng.uniform(0.30, 0.52) - rng.uniform(0.18, 0.28) * across**4
    fluid = soft(chest.view.v - surface - 0.06 * (1 - across), 0.04)
    return fluid * lung.cage, chest.tissue_density


ANOMALIES: dict[str, Callable[[Rng, Chest], tuple[Field, float]]] = {
    "focal_opacity": _focal_opacity,
    "diffuse_opacity": _diffuse_opacity,
    "enlarged_heart": _enlarged_heart,
    "effusion": _effusion,
}
