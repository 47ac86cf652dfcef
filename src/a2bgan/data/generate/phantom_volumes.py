"""Phantom heads: volumes drawn from a seed, each diseased one with its exact healthy twin.

A head is a function of the place in the patient (RAS+, mm): nested ellipsoids for scalp, skull,
fluid, folded grey and white matter, two ventricles, smooth texture. It is drawn at the voxels of
whatever grid a file has, so grids differ and the patient does not. Lesions are soft blobs in
the white matter, brighter or darker than it.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from a2bgan.data.formats.nifti import write_nifti
from a2bgan.data.generate.generated_set import generator, new_set, require_size
from a2bgan.data.set_counts import SetCounts

Field = NDArray[np.float64]
Rng = np.random.Generator

AFFINES = ("plain", "flipped", "permuted", "anisotropic", "oblique")
"""Ways in which a file stores its voxels; each adds to the one before it."""

FIELD_OF_VIEW = 210.0
"""Side in mm of what is drawn."""

COUNTS = SetCounts(60, 30, 30, test_normal=15, test_abnormal=15)

# Grey levels for an intensity of 1, and the least change that is lesion.
_WHITE = 1000
_NOTABLE = 0.04

_TEXTURE_NODES = 20


@dataclass(frozen=True)
class PhantomVolume:
    """image, twin: int16, as stored; mask: bool, where they differ; affine: (4, 4) to RAS+ mm."""

    image: NDArray[np.int16]
    twin: NDArray[np.int16]
    mask: NDArray[np.bool_]
    affine: Field


def make_phantom_volume(
    rng: Rng, size: int = 64, affine: str = "plain", *, diseased: bool = False
) -> PhantomVolume:
    """Draw one head of about `size` voxels a side, stored as one of AFFINES.

    The grid, the patient and the noise are drawn before the lesions: generators in the same state
    give the same twin. Raises InputError for a size below 32, ValueError for another affine.
    """
    require_size(size)
    shape, matrix = _draw_grid(rng, size, affine)
    indices = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    places = nib.affines.apply_affine(matrix, indices)
    radii = np.array([72.0, 88.0, 78.0]) * rng.uniform(0.93, 1.07, 3)
    texture = _Texture(rng)
    healthy = _draw_head(rng, places, radii, texture)
    noise = rng.normal(0, 0.015, shape)
    gain = rng.uniform(0.9, 1.1)
    change = _draw_lesions(rng, places, radii, texture) if diseased else np.zeros(shape)
    mask = np.abs(change) >= _NOTABLE

    def stored(values: Field) -> NDArray[np.int16]:
        return np.rint(_WHITE * np.clip(gain * values + noise, 0, None)).astype(np.int16)

    return PhantomVolume(stored(healthy + np.where(mask, change, 0)), stored(healthy), mask, matrix)


def write_phantom_volumes(out: Path, *, size: int = 64, seed: int = 0, **counts: int) -> Path:
    """Write a set of heads into the new folder `out` and return the path of its manifest.csv.

    counts: fields of `SetCounts`, by default those of COUNTS. The folder holds images/, masks/
    (diseased ones) and twins/ (test), NIfTI each, and the manifest, whose column `affine` says how
    a file stores its voxels; the kinds take turns. Volume number i depends on the seed, i and
    whether it is diseased. `out` appears when it is complete. Raises InputError when `out` holds
    something, or for a count or size that is too small.
    """
    roles = replace(COUNTS, **counts).roles()
    generator(seed)  # refuses a bad one
    # Names say nothing about the class.
    numbers = np.random.default_rng([seed, len(roles)]).permutation(len(roles))
    rows: list[tuple[str, ...]] = []
    columns = ("path", "split", "label", "patient_id", "mask", "twin", "affine")
    with new_set(out, ("images", "masks", "twins"), columns) as (folder, table):
        for number, (split, label, k) in zip(numbers.tolist(), roles, strict=True):
            affine = AFFINES[k % len(AFFINES)]
            rng = np.random.default_rng([seed, number])
            phantom = make_phantom_volume(rng, size, affine, diseased=label == 1)
            path, mask, twin = f"images/{number:04d}.nii.gz", "", ""
            _write(folder / path, phantom.image, phantom.affine)
            if label:
                mask = f"masks/{number:04d}.nii.gz"
                _write(folder / mask, phantom.mask.astype(np.uint8), phantom.affine)
            if split == "test":
                twin = f"twins/{number:04d}.nii.gz"
                _write(folder / twin, phantom.twin, phantom.affine)
            rows.append((path, split, str(label), f"head-{number:04d}", mask, twin, affine))
        table.writerows(sorted(rows))
    return out / "manifest.csv"


def _write(path: Path, values: NDArray[np.generic], affine: Field) -> None:
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    write_nifti(path, image)


def _draw_grid(rng: Rng, size: int, kind: str) -> tuple[tuple[int, ...], Field]:
    """Shape and affine of a grid around the head's centre, which lies at the origin."""
    level = AFFINES.index(kind)
    spacing = np.full(3, FIELD_OF_VIEW / size)
    order, signs = np.arange(3), np.ones(3)
    if level >= 1:
        signs = rng.choice([-1.0, 1.0], 3)
        signs[rng.integers(3)] = -1.0
    if level >= 2:
        order = np.roll(rng.permutation(3), 1)
        if (order == np.arange(3)).all():
            order = np.roll(order, 1)
    if level >= 3:
        spacing = spacing * rng.permutation([1.0, rng.uniform(1.1, 1.4), rng.uniform(1.6, 2.2)])
    axes = np.eye(3)[:, order] * signs
    if level >= 4:
        axes = Rotation.from_rotvec(_direction(rng) * rng.uniform(0.1, 0.2)).as_matrix() @ axes
    shape = tuple(int(n) for n in np.ceil(FIELD_OF_VIEW / spacing))
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    centre = rng.uniform(-3, 3, 3)  # no head lies exactly in the middle
    matrix[:3, 3] = centre - matrix[:3, :3] @ ((np.array(shape) - 1) / 2)
    return shape, matrix


class _Texture:
    """A smooth random field over the patient, about -1 to 1, the same for every grid."""

    def __init__(self, rng: Rng) -> None:
        self._nodes = rng.normal(0, 0.5, (2, *(_TEXTURE_NODES,) * 3))

    def at(self, places: Field, which: int) -> Field:
        scaled = (places / FIELD_OF_VIEW + 0.5) * (_TEXTURE_NODES - 1)
        found: Field = map_coordinates(
            self._nodes[which], np.moveaxis(scaled, -1, 0), order=1, mode="nearest"
        )
        return found


def _draw_head(rng: Rng, places: Field, radii: Field, texture: _Texture) -> Field:
    """Intensities: 0 air, about 0.75 white matter."""
    distance = np.linalg.norm(places / radii, axis=-1)
    folds = texture.at(places, 0)
    head = np.full(distance.shape, 0.02)
    # From the outside in: scalp, skull, fluid, grey and white matter.
    for radius, level, wave in (
        (1.0, 0.6, 0.0),
        (0.93, 0.12, 0.0),
        (0.86, 0.25, 0.0),
        (0.82, 0.5, 0.02),
        (0.68, 0.75, 0.08),
    ):
        inside = _soft(radius + wave * folds - distance, 0.02)
        head += inside * (level - head)
    ventricle = np.array([6.0, 22.0, 11.0]) * rng.uniform(0.8, 1.25)
    for side in (-1, 1):
        centre = np.array([side * 11.0, 4.0, 10.0]) + rng.normal(0, 1.5, 3)
        inside = _soft(1 - np.linalg.norm((places - centre) / ventricle, axis=-1), 0.12)
        head += inside * (0.15 - head)
    textured: Field = head * (1 + 0.06 * texture.at(places, 1))
    return textured


def _draw_lesions(rng: Rng, places: Field, radii: Field, texture: _Texture) -> Field:
    """Intensity that one to three lesions add to the head."""
    change = np.zeros(places.shape[:-1])
    for _ in range(rng.integers(1, 4)):
        centre = _direction(rng) * radii * rng.uniform(0.3, 0.6)
        size = rng.uniform(9, 17) * rng.uniform(0.8, 1.25, 3)
        blob = 1 - np.linalg.norm((places - centre) / size, axis=-1)
        inside = _soft(blob + 0.15 * texture.at(places, 1), 0.12)
        added = rng.choice([-0.3, 0.35]) * inside
        change = np.where(np.abs(added) > np.abs(change), added, change)
    return change


def _direction(rng: Rng) -> Field:
    vector = rng.normal(size=3)
    return vector / np.linalg.norm(vector)


def _soft(distance: Field, width: float) -> Field:
    """0 outside, 1 inside, with an edge of about this width."""
    smooth: Field = 1 / (1 + np.exp(np.clip(-4 * distance / width, -50, 50)))
    return smooth
