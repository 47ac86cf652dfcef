"""The side that images are brought to, decided once for a run by what its files hold.

Images of 64 x 64 are enlarged to 128 x 128, because the frozen network that gives evidence then
sees them at 256 x 256, not at 128 x 128 (`a2bgan.models.evidence.evidence_size`): on brain tumours
of 64 x 64 the AUROC of evidence was 0.91 in place of 0.79. Nothing was gained at 256 x 256.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from a2bgan.data.config import LARGEST_BY_IMAGES, DataConfig
from a2bgan.data.manifest import Manifest
from a2bgan.data.plain_window import look_at, with_plain_window, with_window_of_looks

SIDES = (128, LARGEST_BY_IMAGES)
"""Sides that ``data.size: auto`` chooses from."""


def settled_for(config: DataConfig, manifest: Manifest) -> DataConfig:
    """The configuration with what a run settles by its training images: ``size`` where it is
    "auto", and ``plain_window``."""
    rows = [*manifest.split("healthy"), *manifest.split("mixed")]
    return settle(config, [row.path for row in rows])


def settle(config: DataConfig, paths: Sequence[Path]) -> DataConfig:
    """`settled_for` for the files of training images, a few of which are read, once."""
    if not config.size_by_images:
        return with_plain_window(config, paths)
    looks = look_at(config, paths)
    sized = with_size_of_shapes(config, [look.shape for look in looks])
    return with_window_of_looks(sized, looks)


def with_size_of_shapes(config: DataConfig, shapes: Iterable[Sequence[int]]) -> DataConfig:
    """The same with ``size`` by the images' shapes (height, width, ...) where it is "auto".

    The smallest of `SIDES` that keeps what images of the usual size hold: not below the median of
    their shorter sides, of the longer ones for ``square: pad``. The largest where there are none.
    """
    if not config.size_by_images:
        return config
    kept = max if config.square == "pad" else min
    sides = [kept(shape[:2]) for shape in shapes]
    usual = median(sides) if sides else SIDES[-1]
    size = next((side for side in SIDES if side >= usual), SIDES[-1])
    return config.model_copy(update={"size": size, "size_by_images": False})
