"""Phantom chest radiographs: drawn from a seed, each abnormal one with its exact healthy twin.

A phantom is built as a map of X-ray density (0 = air, about 1 = bone over soft tissue): body
outline, lungs, mediastinum, heart and lung vessels first, then the anomaly, which replaces part of
the lung by denser tissue, then ribs, spine and clavicles on top, which therefore stay visible
through it, as they do in a radiograph. Exposure, blur and noise come last and are the same for
the image and its twin.

Anatomy is drawn in chest coordinates: u runs to the image's right (the patient's left) and v
down, both -1..1 over an image whose patient stands straight and centred.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, gaussian_filter1d, uniform_filter

from a2bgan.data.generated_set import Generated, write_generated
from a2bgan.data.phantom_objects import burn_marker, draw_pacemaker, draw_tube
from a2bgan.data.shapes import Field
from a2bgan.data.shapes import ellipse as _ellipse
from a2bgan.data.shapes import soft as _soft
from a2bgan.errors import InputError

Rng = np.random.Generator

SHORTCUTS = ("exposure", "marker")
"""What sets of phantoms can have that is no disease and goes with it."""

# The films of the diseased, as a share of their brightness.
_UNDEREXPOSED = 0.7

# The letter L, as radiographers put it on a film.
_MARKER = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)

# Smallest image side at which ribs are still wider than a pixel.
SMALLEST_SIZE = 32

# The mask is where image and twin differ by at least this many of the 255 grey levels. Smaller
# differences, at the foot of an anomaly's soft edge and below the noise, are removed from the
# image, so that image and twin are identical outside the mask.
NOTABLE_DIFFERENCE = 6.0


def make_phantom(rng: Rng, size: int = 128, kind: str | None = None) -> Generated:
    """Draw one phantom of size x size pixels with an anomaly or object of `kind`, or a healthy one.

    Image and twin, the same patient, exposure and noise without it, are identical outside the mask.

    Patient, exposure and noise are drawn before the anomaly: generators in the same state give
    the same twin whatever the kind.

    Raises InputError for an unknown kind and for a size below 32.
    """
    if kind is not None:
        _require_kind(kind)
    _require_size(size)
    chest = _draw_chest(rng, size)
    exposure = _draw_exposure(rng, size)
    healthy = exposure.apply(chest.soft_tissue + chest.bones)
    if kind is None:
        twin = _quantise(healthy + exposure.noise)
        return Generated(twin, twin, np.zeros((size, size), dtype=bool), None)
    if kind == "marker":
        twin = _quantise(healthy + exposure.noise)
        image = burn_marker(rng, twin)
        return Generated(image, twin, image != twin, kind)
    if kind in _IMPLANTS:
        added = _IMPLANTS[kind](rng, chest.view.u, chest.view.v)
    else:
        cover, density = _ANOMALIES[kind](rng, chest)
        # Only where it is denser than what is there: over heart and liver it does not show.
        added = cover * np.maximum(density - chest.soft_tissue, 0)
    abnormal = exposure.apply(chest.soft_tissue + added + chest.bones)
    change = abnormal - healthy
    mask = np.abs(change) >= NOTABLE_DIFFERENCE
    twin = _quantise(healthy + exposure.noise)
    image = _quantise(healthy + exposure.noise + np.where(mask, change, 0))
    return Generated(image, twin, mask, kind)


def write_phantoms(
    out: Path,
    *,
    size: int = 128,
    healthy: int = 1000,
    mixed_normal: int = 500,
    mixed_abnormal: int = 500,
    test_normal: int = 200,
    test_abnormal: int = 200,
    mixed_kinds: Sequence[str] | None = None,
    test_kinds: Sequence[str] | None = None,
    shortcut: str | None = None,
    seed: int = 0,
) -> Path:
    """Write a set of phantoms, as `a2bgan.data.generated_set.write_generated` says; the manifest.

    The kinds of anomaly, by default all diseases, are equally frequent in each split; OBJECTS are
    kinds too. With a shortcut the diseased, and only they, have darker films ("exposure") or a
    bright marker in a corner ("marker"), their twins too: a network can tell the sets apart without
    any disease. The same arguments give the same bytes with the same versions of the libraries.

    Raises InputError when `out` holds something, a count is negative, the size is below 32 or a
    kind or the shortcut is unknown.
    """
    counts = {
        ("healthy", 0): healthy,
        ("mixed", 0): mixed_normal,
        ("mixed", 1): mixed_abnormal,
        ("test", 0): test_normal,
        ("test", 1): test_abnormal,
    }
    _require_size(size)
    kinds = {"mixed": mixed_kinds or KINDS, "test": test_kinds or KINDS, "healthy": KINDS}
    for kind in {kind for some in kinds.values() for kind in some}:
        _require_kind(kind)
    if shortcut not in (None, *SHORTCUTS):
        raise InputError(
            f"phantom shortcut {shortcut!r} is unknown: use one of {', '.join(SHORTCUTS)}"
        )

    def draw(rng: Rng, kind: str | None) -> Generated:
        phantom = make_phantom(rng, size, kind)
        return phantom if shortcut is None or kind is None else _plant(phantom, shortcut)

    return write_generated(out, counts, kinds, draw, seed)


def _plant(phantom: Generated, shortcut: str) -> Generated:
    """The phantom on a film that gives its class away; image and twin differ where they did."""
    films = []
    for film in (phantom.image, phantom.twin):
        if shortcut == "exposure":
            film = _quantise(film * np.float32(_UNDEREXPOSED))
        else:
            film = film.copy()
            dot = len(film) // SMALLEST_SIZE
            marker = np.kron(_MARKER, np.ones((dot, dot), dtype=bool))
            film[dot : dot + marker.shape[0], dot : dot + marker.shape[1]][marker] = 255
        films.append(film)
    # A marker hides what is below it, rounding of darker films the faintest differences.
    mask = phantom.mask & (films[0] != films[1])
    return Generated(films[0], films[1], mask, phantom.kind)


def _require_kind(kind: str) -> None:
    if kind not in (*KINDS, *OBJECTS):
        known = ", ".join((*KINDS, *OBJECTS))
        raise InputError(f"phantom kind {kind!r} is unknown: use one of {known}")


def _require_size(size: int) -> None:
    if size < SMALLEST_SIZE:
        raise InputError(f"phantom size {size} is too small: use {SMALLEST_SIZE} or more")


# --- position and exposure -------------------------------------------------------------------


@dataclass(frozen=True)
class _View:
    """Where the patient stands: the chest coordinates of each pixel, and the way back."""

    u: Field
    v: Field
    matrix: NDArray[np.float64]
    shift: NDArray[np.float64]

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Chest coordinates (N, 2) to pixel (column, row) coordinates (N, 2)."""
        size = self.u.shape[0]
        placed = points @ np.linalg.inv(self.matrix).T + self.shift
        return np.asarray((placed + 1) * size / 2 - 0.5)


def _draw_view(rng: Rng, size: int) -> _View:
    angle = np.deg2rad(rng.normal(0, 2.0))
    scale = rng.uniform(0.90, 1.08)
    shift = np.clip(rng.normal(0, (0.04, 0.04)), -0.1, 0.1)
    matrix = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]) / scale
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = axis[None, :] - shift[0], axis[:, None] - shift[1]
    u = (matrix[0, 0] * x + matrix[0, 1] * y).astype(np.float32)
    v = (matrix[1, 0] * x + matrix[1, 1] * y).astype(np.float32)
    return _View(u, v, matrix, shift)


@dataclass(frozen=True)
class _Exposure:
    """From density to grey levels; `noise` is in grey levels."""

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


def _draw_exposure(rng: Rng, size: int) -> _Exposure:
    # Wide on purpose: healthy images differ more in overall brightness than an anomaly changes
    # it, so brightness alone does not tell the classes apart.
    grain = rng.standard_normal((size, size), dtype=np.float32)
    noise = gaussian_filter(grain, 0.4) * np.float32(rng.uniform(2.5, 4.5))
    return _Exposure(
        gamma=float(np.exp(rng.uniform(np.log(0.65), np.log(1.55)))),
        black=float(rng.uniform(0.0, 0.10)),
        white=float(rng.uniform(0.78, 1.0)),
        blur=float(rng.uniform(0.35, 0.6)) * size / 128,
        noise=noise,
    )


def _quantise(grey: Field) -> NDArray[np.uint8]:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)


# --- anatomy ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lung:
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
class _Heart:
    """The heart: ventricles that point down to the image's right, atrium and great vessels."""

    width: float
    height: float
    floor: float
    tilt: float

    def inside(self, view: _View, widening: float = 1.0) -> Field:
        """0..1 with soft edges; `widening` stretches the heart sideways and, less, upwards."""
        u = view.u / widening
        v = (view.v - self.floor) / (1 + 0.3 * (widening - 1))
        wide, high = self.width, self.height
        ventricles = _ellipse(
            u, v, (0.24 * wide, -0.42 * high), (0.66 * wide, 0.5 * high), self.tilt
        )
        atrium = _ellipse(u, v, (-0.16 * wide, -0.52 * high), (0.38 * wide, 0.52 * high), 0.0)
        vessels = _ellipse(u, v, (0.08 * wide, -0.9 * high), (0.32 * wide, 0.6 * high), -0.15)
        return _soft(_join(_join(ventricles, atrium), vessels), 0.035)


@dataclass(frozen=True)
class _Chest:
    """A healthy patient: density maps (size, size), and what anomalies need to find their place."""

    view: _View
    soft_tissue: Field
    bones: Field
    lungs: tuple[_Lung, _Lung]
    heart: _Heart
    aerated: Field
    tissue_density: float


def _draw_chest(rng: Rng, size: int) -> _Chest:
    view = _draw_view(rng, size)
    u, v = view.u, view.v
    build = rng.uniform(0.93, 1.06)
    body, torso = _draw_body(rng, view, build)
    lungs = _draw_lungs(rng, view, build)
    either_lung = np.maximum(lungs[0].inside, lungs[1].inside)
    heart = _Heart(
        width=build * rng.uniform(0.42, 0.50),
        height=rng.uniform(0.44, 0.54),
        floor=lungs[1].base - rng.uniform(0.12, 0.16),
        tilt=rng.uniform(0.40, 0.65),
    )
    tissue = rng.uniform(0.62, 0.72)

    soft = body * (0.36 + 0.16 * torso)
    below = np.where(u < 0, v - lungs[0].diaphragm, v - lungs[1].diaphragm)
    abdomen = _soft(below, 0.03) * _soft(0.06 + build * 0.72 - np.abs(u), 0.08)
    soft += body * abdomen * (tissue + 0.03 - soft)
    if rng.random() < 0.5:  # gas in the stomach, under the left dome
        place = (rng.uniform(0.28, 0.42), lungs[1].base + rng.uniform(0.0, 0.08))
        bubble = _ellipse(u, v, place, (rng.uniform(0.1, 0.17), rng.uniform(0.05, 0.09)), 0.1)
        soft -= 0.16 * _soft(bubble, 0.03) * abdomen
    texture = _smooth_noise(rng, size, 14)
    air = rng.uniform(0.13, 0.18) + 0.05 * (v + 0.2) + 0.018 * texture
    soft += either_lung * (air - soft)
    soft += either_lung * _draw_vessels(rng, view, lungs, size)
    if rng.random() < 0.4:  # breasts
        for side in (-1, 1):
            breast = _ellipse(u, v, (side * 0.45, 0.22), (0.33, 0.3), 0.0)
            soft += 0.05 * _soft(breast, 0.12)

    knob = _ellipse(u, v, (0.10, rng.uniform(-0.36, -0.28)), (0.10, 0.10), 0.0)
    band = rng.uniform(0.12, 0.15) - np.abs(u - 0.01) + 0.02 * v
    mediastinum = _soft(np.maximum(band, knob), 0.04) * _soft(v + 0.75, 0.3)
    centre = np.maximum(mediastinum, heart.inside(view)) * body
    above = 1 - 0.4 * abdomen
    soft += centre * above * (tissue - soft)
    windpipe = _soft(0.045 - np.abs(u - rng.normal(0, 0.012)), 0.03) * _soft(-0.22 - v, 0.1)
    soft -= 0.10 * windpipe * body
    soft += 0.01 * body * _smooth_noise(rng, size, 6)

    return _Chest(
        view=view,
        soft_tissue=soft.astype(np.float32),
        bones=_draw_bones(rng, view, lungs, build) * body,
        lungs=lungs,
        heart=heart,
        aerated=either_lung * (1 - centre),
        tissue_density=float(tissue),
    )


def _draw_body(rng: Rng, view: _View, build: float) -> tuple[Field, Field]:
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
    return _soft(half - np.abs(view.u), 0.025), np.sqrt(np.clip(1 - reach**2, 0, 1))


def _draw_lungs(rng: Rng, view: _View, build: float) -> tuple[_Lung, _Lung]:
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
        wall = _soft(outer - lateral, 0.03) * _soft(view.v - top, 0.02)
        inside = wall * _soft(lateral - inner, 0.03) * _soft(diaphragm - view.v, 0.025)
        cage = wall * _soft(lateral, 0.03) * _soft(diaphragm + 0.06 - view.v, 0.025)
        lungs.append(_Lung(side, inside, cage, lateral, outer, depth, width, base, diaphragm))
    return lungs[0], lungs[1]


def _draw_vessels(rng: Rng, view: _View, lungs: tuple[_Lung, _Lung], size: int) -> Field:
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
    rng: Rng, lungs: tuple[_Lung, _Lung], step: float
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


def _draw_bones(rng: Rng, view: _View, lungs: tuple[_Lung, _Lung], build: float) -> Field:
    u, v = view.u, view.v
    strength = rng.uniform(0.8, 1.2)
    bones = np.zeros_like(u)
    spacing = rng.uniform(0.142, 0.162)
    start = rng.uniform(0, spacing)
    for lung in lungs:
        wall = _soft(lung.outer + 0.03 - lung.lateral, 0.03) * _soft(lung.lateral - 0.03, 0.05)
        wall *= _soft(v - (lung.base - 1.42), 0.06) * _soft(lung.base + 0.02 - v, 0.15)
        across = np.clip(lung.lateral / lung.width, 0, 1)
        back = v - start - (0.02 + 0.17 * across**2.2) * (0.7 + 0.6 * lung.depth)
        front = v - start - 0.5 * spacing - 0.42 * (1 - across) ** 1.3
        bones += 0.10 * wall * _rib_profile(back / spacing, 0.25)
        bones += 0.05 * wall * _soft(across - 0.42, 0.2) * _rib_profile(front / spacing, 0.3)
        clavicle = rng.uniform(-0.60, -0.54) - 0.12 * lung.lateral
        clavicle += 0.035 * np.sin(8.0 * lung.lateral / build)
        rod = _soft(0.032 - np.abs(v - clavicle), 0.02)
        rod *= _soft(lung.lateral - 0.07, 0.03) * _soft(0.78 * build - lung.lateral, 0.03)
        bones += 0.13 * rod
        humerus = _ellipse(
            u, v, (lung.side * 0.98 * build, -0.48), (0.15, 0.16), rng.uniform(0, 0.3)
        )
        blade = _ellipse(u, v, (lung.side * 0.74 * build, -0.36), (0.10, 0.26), -0.35 * lung.side)
        bones += 0.15 * _soft(humerus, 0.04) + 0.045 * _soft(blade, 0.04)
    spine = _soft(rng.uniform(0.075, 0.09) - np.abs(u), 0.03)
    disc = 0.5 + 0.5 * np.cos(2 * np.pi * v / rng.uniform(0.125, 0.145))
    bones += spine * (0.08 + 0.04 * disc)
    return np.asarray(strength * bones, np.float32)


def _rib_profile(phase: Field, gap: float) -> Field:
    """Bands one period apart, brighter at the rim, where the beam runs along the cortex."""
    band = _soft(np.cos(2 * np.pi * phase) - gap, 0.3)
    return 0.75 * band + 1.0 * band * (1 - band)


# --- anomalies: each returns how far it replaces the lung (0..1) and by what density ---------


def _focal_opacity(rng: Rng, chest: _Chest) -> tuple[Field, float]:
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
    spot = _soft(radius * rim - np.sqrt(du**2 + dv**2), rng.uniform(0.04, 0.09))
    return spot * _cage(chest.lungs) * np.float32(
        rng.uniform(0.9, 1.0)
    ), chest.tissue_density + 0.05


def _diffuse_opacity(rng: Rng, chest: _Chest) -> tuple[Field, float]:
    """Patchy clouding over much of one lung or both, heavier towards the base."""
    size = chest.aerated.shape[0]
    both = rng.random() < 0.5
    clouded = chest.lungs if both else (chest.lungs[rng.integers(2)],)
    region = _cage(clouded)
    patches = _smooth_noise(rng, size, 8) + 0.4 * _smooth_noise(rng, size, 18)
    for lung in clouded:
        patches += 1.5 * lung.inside * lung.depth
    share = rng.uniform(0.22, 0.32) if both else rng.uniform(0.42, 0.56)
    edge = np.quantile(patches[region * chest.aerated > 0.5], 1 - share)
    cover = _soft(patches - edge, 0.6) * region
    return cover * np.float32(rng.uniform(0.85, 1.0)), chest.tissue_density


def _cage(lungs: tuple[_Lung, ...]) -> Field:
    return np.asarray(np.max([lung.cage for lung in lungs], axis=0), np.float32)


def _enlarged_heart(rng: Rng, chest: _Chest) -> tuple[Field, float]:
    """Cardiomegaly: the same heart, 40 to 60 % wider."""
    widened = chest.heart.inside(chest.view, rng.uniform(1.4, 1.6))
    return widened * _cage(chest.lungs), chest.tissue_density


def _effusion(rng: Rng, chest: _Chest) -> tuple[Field, float]:
    """Fluid in the pleural space of one side: it fills the angle and climbs along the wall."""
    lung = chest.lungs[rng.integers(2)]
    across = np.clip(lung.lateral / lung.width, 0, 1)
    surface = lung.base - rng.uniform(0.30, 0.52) - rng.uniform(0.18, 0.28) * across**4
    fluid = _soft(chest.view.v - surface - 0.06 * (1 - across), 0.04)
    return fluid * lung.cage, chest.tissue_density


_ANOMALIES: dict[str, Callable[[Rng, _Chest], tuple[Field, float]]] = {
    "focal_opacity": _focal_opacity,
    "diffuse_opacity": _diffuse_opacity,
    "enlarged_heart": _enlarged_heart,
    "effusion": _effusion,
}

KINDS: tuple[str, ...] = tuple(_ANOMALIES)

# Density that lies on top of everything.
_IMPLANTS: dict[str, Callable[[Rng, Field, Field], Field]] = {
    "tube": draw_tube,
    "pacemaker": draw_pacemaker,
}

OBJECTS: tuple[str, ...] = (*_IMPLANTS, "marker")
"""Kinds that are no disease; none is drawn unless it is asked for."""


# --- shapes ----------------------------------------------------------------------------------


def _join(first: Field, second: Field) -> Field:
    """Union of two shapes given by distance, with the notch between them filled a little."""
    return np.asarray(
        (first + second + np.sqrt((first - second) ** 2 + np.float32(0.05**2))) / 2, np.float32
    )


def _smooth_noise(rng: Rng, size: int, cells: int) -> Field:
    """Random field of unit variance with about `cells` independent values along each side."""
    grid = rng.standard_normal((cells + 1, cells + 1))
    distance = np.linspace(0, cells, size)[:, None] - np.arange(cells + 1)[None, :]
    weight = np.exp(-(distance**2) / (2 * 0.6**2))
    weight /= np.sqrt((weight**2).sum(axis=1, keepdims=True))
    return np.asarray(weight @ grid @ weight.T, np.float32)
