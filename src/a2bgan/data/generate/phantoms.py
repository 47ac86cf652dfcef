"""Phantom chest radiographs: drawn from a seed, each abnormal one with its exact healthy twin.

A phantom is built as a map of X-ray density (0 = air, about 1 = bone over soft tissue): body
outline, lungs, mediastinum, heart and lung vessels first, then the anomaly, which replaces part of
the lung by denser tissue, then ribs, spine and clavicles on top, which therefore stay visible
through it, as they do in a radiograph. Exposure, blur and noise come last and are the same for
the image and its twin.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.generate.chest import draw_chest, draw_exposure
from a2bgan.data.generate.chest_anomalies import ANOMALIES
from a2bgan.data.generate.generated_set import (
    SMALLEST_SIZE,
    Generated,
    require_size,
    write_generated,
)
from a2bgan.data.generate.phantom_objects import burn_marker, draw_pacemaker, draw_tube
from a2bgan.data.generate.shapes import Field
from a2bgan.data.set_counts import SetCounts
from a2bgan.errors import InputError

Rng = np.random.Generator

SHORTCUTS = ("exposure", "marker")
"""Traits of a film that can be made to go with disease without being one."""

# The films of the diseased, as a share of their brightness.
_UNDEREXPOSED = 0.7

# The letter L, as radiographers put it on a film.
_MARKER = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], dtype=bool)

DISEASES: tuple[str, ...] = tuple(ANOMALIES)

# Density that lies on top of everything.
_IMPLANTS: dict[str, Callable[[Rng, Field, Field], Field]] = {
    "tube": draw_tube,
    "pacemaker": draw_pacemaker,
}

OBJECTS: tuple[str, ...] = (*_IMPLANTS, "marker")
"""Kinds that are no disease; none is drawn unless it is asked for."""

COUNTS = SetCounts(1000, 500, 500, test_normal=200, test_abnormal=200)

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
    require_size(size)
    chest = draw_chest(rng, size)
    exposure = draw_exposure(rng, size)
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
        cover, density = ANOMALIES[kind](rng, chest)
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
    mixed_kinds: Sequence[str] | None = None,
    test_kinds: Sequence[str] | None = None,
    shortcut: str | None = None,
    seed: int = 0,
    **counts: int,
) -> Path:
    """Write a set of phantoms as `write_generated` does; returns its manifest.

    counts: fields of `SetCounts`, by default those of COUNTS. The kinds of anomaly, by default all
    diseases, are equally frequent in each split; OBJECTS are kinds too. With a shortcut the
    diseased, and only they, have darker films ("exposure") or a bright marker in a corner
    ("marker"), and so have their twins: a network can tell the sets apart without any disease. The
    same arguments give the same bytes with the same versions of the libraries.

    Raises InputError when `out` holds something, a count is negative, the size is below 32 or a
    kind or the shortcut is unknown.
    """
    require_size(size)
    kinds = {"mixed": mixed_kinds or DISEASES, "test": test_kinds or DISEASES}
    for kind in {*kinds["mixed"], *kinds["test"]}:
        _require_kind(kind)
    if shortcut not in (None, *SHORTCUTS):
        raise InputError(
            f"phantom shortcut {shortcut!r} is unknown: use one of {', '.join(SHORTCUTS)}"
        )

    def draw(rng: Rng, kind: str | None) -> Generated:
        phantom = make_phantom(rng, size, kind)
        return phantom if shortcut is None or kind is None else _plant(phantom, shortcut)

    return write_generated(out, replace(COUNTS, **counts), kinds, draw, seed)


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
    if kind not in (*DISEASES, *OBJECTS):
        known = ", ".join((*DISEASES, *OBJECTS))
        raise InputError(f"phantom kind {kind!r} is unknown: use one of {known}")


def _quantise(grey: Field) -> NDArray[np.uint8]:
    return np.clip(np.rint(grey), 0, 255).astype(np.uint8)
