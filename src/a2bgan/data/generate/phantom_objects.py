"""Things that are no disease on phantom radiographs: tubes, pacemakers and text markers."""

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.generate.shapes import Field, curve, ellipse, line, soft

Rng = np.random.Generator

THINNEST = 1.4
"""Pixels: what is thinner is drawn this thick, or it would be lost in the noise."""

_LETTERS = {
    "L": ("100", "100", "100", "100", "111"),
    "R": ("110", "101", "110", "101", "101"),
    "A": ("010", "101", "111", "101", "101"),
    "P": ("110", "101", "110", "100", "100"),
    "1": ("010", "110", "010", "010", "111"),
    "7": ("111", "001", "010", "010", "010"),
}
"""Letters as markers have them, 3 x 5."""


def draw_tube(rng: Rng, u: Field, v: Field) -> Field:
    """Density of a tube's wall, from above: down the windpipe, to the stomach or into a lung.

    u, v: chest coordinates of each pixel, see `a2bgan.data.generate.chest`.
    """
    side = float(rng.choice((-1, 1)))
    end = (
        (float(rng.normal(0, 0.03)), float(rng.uniform(-0.3, -0.1))),
        (float(rng.uniform(0.1, 0.4)), float(rng.uniform(0.5, 0.7))),
        (side * float(rng.uniform(0.3, 0.5)), float(rng.uniform(-0.1, 0.3))),
    )[rng.integers(3)]
    start = (float(rng.normal(0, 0.05)), -1.2)
    bend = (float(rng.normal(0, 0.08)), float(rng.uniform(-0.3, 0.1)))
    return _wire(u, v, curve(start, bend, end), 0.022, rng.uniform(0.3, 0.45))


def draw_pacemaker(rng: Rng, u: Field, v: Field) -> Field:
    """Density of a battery below one clavicle, and of its lead to the heart."""
    side = float(rng.choice((-1, 1)))
    place = (side * float(rng.uniform(0.42, 0.58)), float(rng.uniform(-0.42, -0.24)))
    axes = (float(rng.uniform(0.13, 0.17)), float(rng.uniform(0.10, 0.13)))
    battery = soft(ellipse(u, v, place, axes, float(rng.uniform(-0.5, 0.5))), 0.02)
    tip = (float(rng.uniform(0.1, 0.25)), float(rng.uniform(0.15, 0.3)))
    bend = (float(rng.uniform(-0.1, 0.0)), float(rng.uniform(-0.5, -0.3)))
    lead = _wire(u, v, curve(place, bend, tip), 0.013, rng.uniform(0.3, 0.4))
    return np.asarray(np.maximum(battery * np.float32(rng.uniform(0.6, 0.8)), lead), np.float32)


def burn_marker(rng: Rng, film: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The film (size, size) with two or three bright letters in one of its upper corners."""
    size = len(film)
    dot = max(1, round(size / 48))
    letters = rng.choice(list(_LETTERS), rng.integers(2, 4))
    rows = ["0".join(_LETTERS[letter][k] for letter in letters) for k in range(5)]
    text = np.array([[int(c) for c in row] for row in rows], dtype=bool)
    text = np.kron(text, np.ones((dot, dot), dtype=bool))
    height, width = text.shape
    top = int(rng.integers(dot, 4 * dot))
    left = int(rng.integers(dot, 4 * dot))
    left = left if rng.random() < 0.5 else size - left - width
    burnt = film.copy()
    burnt[top : top + height, left : left + width][text] = rng.integers(225, 256)
    return burnt


def _wire(u: Field, v: Field, points: NDArray[np.float64], radius: float, density: float) -> Field:
    pixel = 2 / len(u)
    radius = max(radius, THINNEST / 2 * pixel)
    return soft(line(u, v, points, radius), pixel / 2) * np.float32(density)
