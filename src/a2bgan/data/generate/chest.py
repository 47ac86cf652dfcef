"""A healthy chest, drawn from a seed as a map of X-ray density, and how a film is exposed.

Anatomy is drawn in chest coordinates: u runs to the image's right (the patient's left) and v
down, both -1..1 over an image whose patient stands straight and centred. Density is 0 for air and
about 1 for bone over soft tissue.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d

from a2bgan.data.generate.shapes import Field, ellipse, soft

Rng = np.random.Generator


@dataclass(frozen=True)
class View:
    """Position of the patient: the chest coordinates of each pixel, and the way back."""

    u: Field
    v: Field
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chest coordinates (N, 2) to pixel (column, row) coordinates (N, 2)."""
        size = self.u.shape[0]
        placed = points @ np.linalg.inv(self.matrix).T + self.shift
        return np.asarray((placed + 1) * size / 2 - 0.5)


def _draw_view(rng: Rng, size: int) -> View:
    angle = np.deg2rad(rng.normal(0, 2.0))
    scale = rng.uniform(0.90, 1.08)
    shift = np.clip(rng.normal(0, (0.04, 0.04)), -0.1, 0.1)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = axis[None, :] - shift[0], axis[:, None] - shift[1]
    u = (matrix[0, 0] * x + matrix[0, 1] * y).astype(np.float32)
    v = (matrix[1, 0] * x + matrix[1, 1] * y).astype(np.float32)
    return View(u, v, matrix, shift)


@dataclass(frozen=True)
class Exposure:
    """Conversion of density to grey levels; `noise` is in grey levels."""

    gamma: float
    black: float
    white: float
    blur: float
    noise: Field

    def apply(self, density: Field) -> Field:
        """Grey levels (0..255, not rounded, without noise) of a density map."""
        tone = np.clip(density, 0.0, 1.1) ** np.float32(self.gamma)
        blurred = gaussian_filter(tone, self.blur)
        return np.asarray(255 * (self.black + (self.white - self.black) * blurred), np.float32)


def draw_exposure(rng: Rng, size: int) -> Exposure:
    # Wide on purpose: healthy images differ more in overall brightness than an anomaly changes
    # it, so brightness alone does not tell the classes apart.
    grain = rng.standard_normal((size, size), dtype=np.float32)
    noise = gaussian_filter(grain, 0.4) * np.float32(rng.uniform(2.5, 4.5))
    return Exposure(
        gamma=float(np.exp(rng.uniform(np.log(0.65), np.log(1.55)))),
        black=float(rng.uniform(0.0, 0.10)),
        white=float(rng.uniform(0.78, 1.0)),
        blur=float(rng.uniform(0.35, 0.6)) * size / 128,
        noise=noise,
    )


@dataclass(frozen=True)
class Lung:
    """One lung; `side` is -1 on the image's left and 1 on its right.

    inside: 0..1 with soft edges. cage: the same without its lower and inner borders, which leaves
    no seam where an anomaly meets heart or diaphragm.
    lateral: distance from the midline towards this lung's outer wall, in chest coordinates.
    depth: 0 at the apex and 1 at the base (costophrenic angle).
    """

    side: int
    inside: Field
    cage: Field
    lateral: Field
    outer: Field
    depth: Field
    width: float
    base: float
    diaphragm: Field


@dataclass(frozen=True)
class Heart:
    """The heart: ventricles that point down to the image's right, atrium and great vessels."""

    width: float
    height: float
    floor: float
    tilt: float

    def inside(self, view: View, widening: float = 1.0) -> Field:
        """0..1 with soft edges; `widening` stretches the heart sideways and, less, upwards."""
        u = view.u / widening
        v = (view.v - self.floor) / (1 + 0.3 * (widening - 1))
        wide, high = self.width, self.height
        ventricles = ellipse(
            u, v, (0.24 * wide, -0.42 * high), (0.66 * wide, 0.5 * high), self.tilt
        )
        atrium = ellipse(u, v, (-0.16 * wide, -0.52 * high), (0.38 * wide, 0.52 * high), 0.0)
        vessels = ellipse(u, v, (0.08 * wide, -0.9 * high), (0.32 * wide, 0.6 * high), -0.15)
        return soft(_join(_join(ventricles, atrium), vessels), 0.035)


@dataclass(frozen=True)
class Chest:
    """A healthy patient: density maps (size, size), and what anomalies need to find their place."""

    view: View
    soft_tissue: Field
    bones: Field
    lungs: tuple[Lung, Lung]
    heart: Heart
    aerated: Field
    tissue_density: float


def draw_chest(rng: Rng, size: int) -> Chest:
    view = _draw_view(rng, size)
    u, v = view.u, view.v
    build = rng.uniform(0.93, 1.06)
    body, torso = _draw_body(rng, view, build)
    lungs = _draw_lungs(rng, view, build)
    either_lung = np.maximum(lungs[0].inside, lungs[1].inside)
    heart = Heart(
        width=build * rng.uniform(0.42, 0.50),
        height=rng.uniform(0.44, 0.54),
        floor=lungs[1].base - rng.uniform(0.12, 0.16),
        tilt=rng.uniform(0.40, 0.65),
    )
    tissue = rng.uniform(0.62, 0.72)

    flesh = body * (0.36 + 0.16 * torso)
    below = np.where(u < 0, v - lungs[0].diaphragm, v - lungs[1].diaphragm)
    abdomen = soft(below, 0.03) * soft(0.06 + build * 0.72 - np.abs(u), 0.08)
    flesh += body * abdomen * (tissue + 0.03 - flesh)
    if rng.random() < 0.5:  # gas in the stomach, under the left dome
        place = (rng.uniform(0.28, 0.42), lungs[1].base + rng.uniform(0.0, 0.08))
        bubble = ellipse(u, v, place, (rng.uniform(0.1, 0.17), rng.uniform(0.05, 0.09)), 0.1)
        flesh -= 0.16 * soft(bubble, 0.03) * abdomen
    texture = smooth_noise(rng, size, 14)
    air = rng.uniform(0.13, 0.18) + 0.05 * (v + 0.2) + 0.018 * texture
    flesh += either_lung * (air - flesh)
    flesh += either_lung * _draw_vessels(rng, view, lungs, size)
    if rng.random() < 0.4:  # breasts
        for side in (-1, 1):
            breast = ellipse(u, v, (side * 0.45, 0.22), (0.33, 0.3), 0.0)
            flesh += 0.05 * soft(breast, 0.12)

    knob = ellipse(u, v, (0.10, rng.uniform(-0.36, -0.28)), (0.10, 0.10), 0.0)
    band = rng.uniform(0.12, 0.15) - np.abs(u - 0.01) + 0.02 * v
    mediastinum = soft(np.maximum(band, knob), 0.04) * soft(v + 0.75, 0.3)
    centre = np.maximum(mediastinum, heart.inside(view)) * body
    above = 1 - 0.4 * abdomen
    flesh += centre * above * (tissue - flesh)
    windpipe = soft(0.045 - np.abs(u - rng.normal(0, 0.012)), 0.03) * soft(-0.22 - v, 0.1)
    flesh -= 0.10 * windpipe * body
    flesh += 0.01 * body * smooth_noise(rng, size, 6)

    return Chest(
        view=view,
        soft_tissue=flesh.astype(np.float32),
        bones=_draw_bones(rng, view, lungs, build) * body,
        lungs=lungs,
        heart=heart,
        aerated=either_lung * (1 - centre),
        tissue_density=float(tissue),
    )


def _draw_body(rng: Rng, view: View, build: float) -> tuple[Field, Field]:
    """The outline of neck, shoulders and trunk (0..1), and the trunk's thickness (0..1)."""
    heights = np.array([-1.5, -1.0, -0.86, -0.74, -0.55, -0.3, -0.05, 0.3, 1.5])
    trunk = rng.uniform(0.86, 0.93)
    table = np.linspace(-1.5, 1.5, 121)
    sides = []
    for _ in range(2):
        halves = np.array([0.22, 0.24, 0.36, 0.72, 1.02, 1.08, trunk + 0.04, trunk, trunk + 0.02])
        halves = build * halves + rng.normal(0, 0.015, halves.size)
        sides.append(gaussian_filter1d(np.interp(table, heights, halves), 3.0))
    rows = np.interp(view.v, table, sides[0]), np.interp(view.v, table, sides[1])
    half = np.where(view.u < 0, rows[0], rows[1]).astype(np.float32)
    reach = np.abs(view.u) / half
    return soft(half - np.abs(view.u), 0.025), np.sqrt(np.clip(1 - reach**2, 0, 1))


def _draw_lungs(rng: Rng, view: View, build: float) -> tuple[Lung, Lung]:
    top, dome = rng.uniform(-0.76, -0.66), rng.uniform(0.30, 0.44)
    lungs = []
    for side, lower in ((-1, 0.0), (1, rng.uniform(0.02, 0.08))):  # the liver lifts the right dome
        lateral = side * view.u
        width = build * rng.uniform(0.68, 0.74)
        sag = rng.uniform(0.20, 0.28)
        base = dome + lower + sag
        depth = np.clip((view.v - top) / (base - top), 0, 1)
        apex, hilum = rng.uniform(0.26, 0.32), rng.uniform(0.10, 0.13)
        outer = apex + (width - apex) * np.sqrt(1 - (1 - depth) ** rng.uniform(2.2, 2.8))
        inner = hilum + (apex - hilum) * (1 - depth) ** 7
        peak = rng.uniform(0.30, 0.36)
        slope = np.where(lateral > peak, (lateral - peak) / (width - peak), (peak - lateral) * 1.4)
        diaphragm = dome + lower + sag * np.minimum(slope**2, 1.2)
        wall = soft(outer - lateral, 0.03) * soft(view.v - top, 0.02)
        inside = wall * soft(lateral - inner, 0.03) * soft(diaphragm - view.v, 0.025)
        cage = wall * soft(lateral, 0.03) * soft(diaphragm + 0.06 - view.v, 0.025)
        lungs.append(Lung(side, inside, cage, lateral, outer, depth, width, base, diaphragm))
    return lungs[0], lungs[1]


def _draw_vessels(rng: Rng, view: View, lungs: tuple[Lung, Lung], size: int) -> Field:
    """Density of vessels that branch from each hilum and thin out towards the pleura."""
    pixels = size / 2
    density = np.zeros((size, size), dtype=np.float32)
    step = 0.012
    for radius, points in _grow_vessels(rng, lungs, step):
        sigma = radius * pixels
        column, row = view.to_pixels(points).T
        inside = (column >= 0) & (column <= size - 1) & (row >= 0) & (row <= size - 1)
        index = np.rint(row[inside]).astype(int) * size + np.rint(column[inside]).astype(int)
        # A line of points `step` apart, blurred, has the peak density wanted along its axis.
        weight = 4.5 * radius * np.sqrt(2 * np.pi) * sigma * step * pixels
        hits = np.bincount(index, minlength=size * size).reshape(size, size)
        density += gaussian_filter((hits * weight).astype(np.float32), sigma)
    return np.minimum(density, 0.3)


def _grow_vessels(
    rng: Rng, lungs: tuple[Lung, Lung], step: float
) -> Iterator[tuple[float, NDArray[np.float64]]]:
    """Radius and points (N, 2) of each generation of branches, thickest first."""
    stems = 6
    sides = np.repeat([lung.side for lung in lungs], stems)
    spread = np.tile(np.linspace(-1.25, 1.35, stems), 2)
    angle = spread + rng.normal(0, 0.15, 2 * stems)  # 0 = straight out, positive = down
    start = np.stack([sides * 0.17, rng.uniform(-0.1, 0.02) + 0.08 * spread], axis=1)
    for radius, steps in ((0.022, 14), (0.015, 14), (0.011, 12), (0.009, 10)):
        bend = rng.normal(0, 0.025, angle.size)
        angles = angle[None, :] + bend[None, :] * np.arange(1, steps + 1)[:, None]
        heading = np.stack([sides * np.cos(angles), np.sin(angles)], axis=-1)
        path = start + step * np.cumsum(heading, axis=0)
        yield radius, path.reshape(-1, 2)
        fork = np.abs(rng.normal(0.38, 0.12, angle.size))
        angle = np.concatenate([angles[-1] - fork, angles[-1] + fork])
        start, sides = np.concatenate([path[-1], path[-1]]), np.concatenate([sides, sides])


def _draw_bones(rng: Rng, view: View, lungs: tuple[Lung, Lung], build: float) -> Field:
    u, v = view.u, view.v
    strength = rng.uniform(0.8, 1.2)
    bones = np.zeros_like(u)
    spacing = rng.uniform(0.142, 0.162)
    start = rng.uniform(0, spacing)
    for lung in lungs:
        wall = soft(lung.outer + 0.03 - lung.lateral, 0.03) * soft(lung.lateral - 0.03, 0.05)
        wall *= soft(v - (lung.base - 1.42), 0.06) * soft(lung.base + 0.02 - v, 0.15)
        across = np.clip(lung.lateral / lung.width, 0, 1)
        back = v - start - (0.02 + 0.17 * across**2.2) * (0.7 + 0.6 * lung.depth)
        front = v - start - 0.5 * spacing - 0.42 * (1 - across) ** 1.3
        bones += 0.10 * wall * _rib_profile(back / spacing, 0.25)
        bones += 0.05 * wall * soft(across - 0.42, 0.2) * _rib_profile(front / spacing, 0.3)
        clavicle = rng.uniform(-0.60, -0.54) - 0.12 * lung.lateral
        clavicle += 0.035 * np.sin(8.0 * lung.lateral / build)
        rod = soft(0.032 - np.abs(v - clavicle), 0.02)
        rod *= soft(lung.lateral - 0.07, 0.03) * soft(0.78 * build - lung.lateral, 0.03)
        bones += 0.13 * rod
        humerus = ellipse(
            u, v, (lung.side * 0.98 * build, -0.48), (0.15, 0.16), rng.uniform(0, 0.3)
        )
        blade = ellipse(u, v, (lung.side * 0.74 * build, -0.36), (0.10, 0.26), -0.35 * lung.side)
        bones += 0.15 * soft(humerus, 0.04) + 0.045 * soft(blade, 0.04)
    spine = soft(rng.uniform(0.075, 0.09) - np.abs(u), 0.03)
    disc = 0.5 + 0.5 * np.cos(2 * np.pi * v / rng.uniform(0.125, 0.145))
    bones += spine * (0.08 + 0.04 * disc)
    return np.asarray(strength * bones, np.float32)


def _rib_profile(phase: Field, gap: float) -> Field:
    """Bands one period apart, brighter at the rim, where the beam runs along the cortex."""
    band = soft(np.cos(2 * np.pi * phase) - gap, 0.3)
    return 0.75 * band + 1.0 * band * (1 - band)


def _join(first: Field, second: Field) -> Field:
    """Union of two shapes given by distance, with the notch between them filled a little."""
    return np.asarray(
        (first + second + np.sqrt((first - second) ** 2 + np.float32(0.05**2))) / 2, np.float32
    )


def smooth_noise(rng: Rng, size: int, cells: int) -> Field:
    """Random field of unit variance with about `cells` independent values along each side."""
    grid = rng.standard_normal((cells + 1, cells + 1))
    distance = np.linspace(0, cells, size)[:, None] - np.arange(cells + 1)[None, :]
    weight = np.exp(-(distance**2) / (2 * 0.6**2))
    weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
    return np.asarray(weight @ grid @ weight.T, np.float32)
