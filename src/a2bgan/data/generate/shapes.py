"""Soft shapes that generated images are drawn with."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Field = NDArray[np.float32]


def soft(distance: NDArray[np.floating], width: float) -> Field:
    """0 outside (distance < -width), 1 inside (distance > width), smooth between."""
    ramp = np.multiply(distance, 0.5 / width, dtype=np.float32)
    ramp += 0.5
    np.clip(ramp, 0, 1, out=ramp)
    smooth: Field = 3 - 2 * ramp
    smooth *= ramp
    smooth *= ramp
    return smooth


def ellipse(
    u: Field, v: Field, centre: tuple[float, float], half_axes: tuple[float, float], tilt: float
) -> Field:
    """About the distance to the rim of an ellipse turned by `tilt` radians, positive inside."""
    du, dv = u - np.float32(centre[0]), v - np.float32(centre[1])
    cos, sin = np.float32(np.cos(tilt)), np.float32(np.sin(tilt))
    along = (cos * du + sin * dv) / np.float32(half_axes[0])
    across = (cos * dv - sin * du) / np.float32(half_axes[1])
    return np.asarray((1 - np.sqrt(along**2 + across**2)) * np.float32(min(half_axes)), np.float32)


def line(u: Field, v: Field, points: NDArray[np.float64], radius: float) -> Field:
    """The distance to the rim of a line through points (N, 2) of (u, v), positive inside."""
    nearest = np.full(u.shape, np.inf, dtype=np.float32)
    for (u0, v0), (u1, v1) in pairwise(points):
        du, dv = u1 - u0, v1 - v0
        along = np.clip(((u - u0) * du + (v - v0) * dv) / max(du**2 + dv**2, 1e-12), 0, 1)
        nearest = np.minimum(nearest, np.hypot(u - u0 - along * du, v - v0 - along * dv))
    return np.asarray(radius - nearest, np.float32)


def curve(
    start: tuple[float, float], bend: tuple[float, float], end: tuple[float, float]
) -> NDArray[np.float64]:
    """Points (17, 2) of a quadratic Bezier curve."""
    t = np.linspace(0, 1, 17)[:, None]
    ends = (1 - t) ** 2 * np.asarray(start) + t**2 * np.asarray(end)
    return np.asarray(ends + 2 * t * (1 - t) * np.asarray(bend))
