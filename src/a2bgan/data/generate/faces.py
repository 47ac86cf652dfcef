"""Generated faces with and without eyeglasses: pairs that a translator is measured by, and never
trained on. Drawings, not likenesses: nobody is shown."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from a2bgan.data.generate.generated_set import Generated, require_size, write_generated
from a2bgan.data.generate.shapes import Field, curve, ellipse, line, soft
from a2bgan.data.set_counts import SetCounts

Rng = np.random.Generator

GLASSES = "glasses"

COUNTS = SetCounts(1000, 0, 1000, test_normal=200, test_abnormal=200)

SKINS = np.array([(0.93, 0.78, 0.67), (0.80, 0.60, 0.46), (0.55, 0.38, 0.27), (0.36, 0.24, 0.17)])
HAIRS = np.array([(0.10, 0.08, 0.07), (0.35, 0.22, 0.13), (0.72, 0.56, 0.32), (0.55, 0.55, 0.55)])


def make_face(rng: Rng, size: int = 64, glasses: bool = False) -> Generated:
    """Draw a face of size x size pixels in colour; with glasses, its twin is without them.

    Face, light and noise are drawn before the glasses. Raises InputError for a size below 32.
    """
    require_size(size)
    axis = ((np.arange(size) + 0.5) * 2 / size - 1).astype(np.float32)
    u, v = np.meshgrid(axis - rng.normal(0, 0.05), axis - rng.normal(0, 0.05))
    u, v = u.astype(np.float32), v.astype(np.float32)
    pixel = 2 / size
    tone, back = _between(rng, SKINS), rng.uniform(0.15, 0.9, 3)
    hair, iris = _between(rng, HAIRS), rng.uniform(0.05, 0.45, 3)
    canvas = np.broadcast_to(back.astype(np.float32), (size, size, 3)).copy()

    def paint(distance: Field, colour: np.ndarray, edge: float = 1.0, cover: float = 1.0) -> None:
        alpha = (soft(distance, edge * pixel) * np.float32(cover))[..., None]
        canvas[:] = canvas * (1 - alpha) + alpha * colour.astype(np.float32)

    wide, high = rng.uniform(0.5, 0.62), rng.uniform(0.66, 0.78)
    paint(ellipse(u, v, (0, -0.12), (wide * 1.16, high * rng.uniform(1.0, 1.12)), 0), hair)
    paint(ellipse(u, v, (0, 1.15), (0.9, 0.5), 0), rng.uniform(0.1, 0.9, 3))
    paint(ellipse(u, v, (0, 0.6), (0.2, 0.4), 0), tone * 0.85)
    paint(ellipse(u, v, (0, 0.05), (wide, high), 0), tone)
    shade = np.clip(0.5 + rng.normal(0, 0.5) * u, 0, 1)[..., None]
    inside = soft(ellipse(u, v, (0, 0.05), (wide, high), 0), pixel)[..., None]
    canvas *= 1 - 0.25 * shade * inside
    paint(ellipse(u, v, (0, -0.75), (wide, rng.uniform(0.18, 0.34)), 0), hair)
    apart, level = rng.uniform(0.21, 0.26), rng.uniform(-0.12, -0.02)
    opening = rng.uniform(0.035, 0.07)
    for side in (-1, 1):
        eye = (side * apart, level)
        paint(ellipse(u, v, eye, (0.11, opening), 0), np.array([0.95, 0.95, 0.95]))
        paint(ellipse(u, v, eye, (min(0.05, opening), min(0.05, opening)), 0), iris)
        brow = curve(
            (side * (apart - 0.12), level - 0.15),
            (side * apart, level - 0.22),
            (side * (apart + 0.12), level - 0.15),
        )
        paint(line(u, v, brow, 0.025), hair)
    nose = curve((0.0, level + 0.1), (rng.normal(0.05, 0.02), 0.2), (-0.03, 0.24))
    paint(line(u, v, nose, 0.015), tone * 0.6, cover=0.7)
    smile = rng.uniform(-0.06, 0.1)
    mouth = curve((-0.17, 0.42), (0.0, 0.42 + smile), (0.17, 0.42))
    paint(line(u, v, mouth, rng.uniform(0.02, 0.04)), np.array([0.6, 0.2, 0.2]))

    light = rng.uniform(0.75, 1.1)
    noise = rng.normal(0, 2.0, (size, size, 3))
    twin = _grey_levels(canvas * light, noise)
    if not glasses:
        return Generated(twin, twin, np.zeros((size, size), dtype=bool), None)

    frame = rng.uniform(0, 0.25, 3)
    axes = (rng.uniform(0.17, 0.2), rng.uniform(0.12, 0.16))
    rim = max(rng.uniform(0.02, 0.035), 0.7 * pixel)
    dark = rng.uniform(0.05, 0.2) if rng.random() < 0.7 else rng.uniform(0.6, 0.9)
    for side in (-1, 1):
        rest = ellipse(u, v, (side * apart, level), axes, 0)
        paint(rest, np.array([0.1, 0.12, 0.15]), cover=dark)
        paint(np.asarray(rim - np.abs(rest), np.float32), frame)
        arm = np.array([(side * (apart + axes[0]), level), (side * wide, level - 0.04)])
        paint(line(u, v, arm, rim * 0.7), frame)
    gap = apart - axes[0]
    paint(line(u, v, curve((-gap, level), (0, level - 0.05), (gap, level)), rim * 0.8), frame)
    image = _grey_levels(canvas * light, noise)
    return Generated(image, twin, (image != twin).any(axis=-1), GLASSES)


def write_faces(out: Path, *, size: int = 64, seed: int = 0, **counts: int) -> Path:
    """Write a set of faces as `write_generated` does; returns its manifest.

    B ("healthy") has faces without glasses, A ("mixed") faces with and, if asked for, without.
    counts: fields of `SetCounts`, by default those of COUNTS. Raises InputError.
    """
    require_size(size)
    return write_generated(
        out,
        replace(COUNTS, **counts),
        dict.fromkeys(("mixed", "test"), (GLASSES,)),
        lambda rng, kind: make_face(rng, size, kind is not None),
        seed,
    )


def _between(rng: Rng, colours: np.ndarray) -> np.ndarray:
    """A random mixture of two neighbours."""
    k, share = rng.integers(len(colours) - 1), rng.random()
    return np.asarray(colours[k] * (1 - share) + colours[k + 1] * share)


def _grey_levels(canvas: np.ndarray, noise: np.ndarray) -> np.ndarray:
    return np.asarray(np.clip(np.rint(255 * canvas + noise), 0, 255).astype(np.uint8))
