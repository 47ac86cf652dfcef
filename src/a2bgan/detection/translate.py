"""Translate images at their own size: the network's change, enlarged, is added to the image.

x' = x + up(G(x_small) - x_small), in the file's own values. What the network left alone keeps every
digit and all its sharpness; where it painted, there is no more detail than the network has. What is
cut off before the network stays as it is.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from a2bgan.data.batches import to_unit_range
from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.formats.originals import Original, read_original
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.preprocessing import preprocess, shown_range, to_original_grid
from a2bgan.detection.inputs import Input
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError


@dataclass(frozen=True, slots=True)
class Translated:
    """One translated image, or the reason why there is none.

    colours: as of `Original`, translated; alpha: its own. mask: (H, W) in [0, 1], where the network
    painted, None from methods without masks. change: (H, W) in [0, 1], |x' - x| as a share of the
    range that the network sees, the mean over channels.
    """

    input: Input
    colours: np.ndarray | None = None
    alpha: np.ndarray | None = None
    mask: np.ndarray | None = None
    change: np.ndarray | None = None
    error: str = ""


def translate(trained: Trained, inputs: Iterable[Input]) -> Iterator[Translated]:
    """Translate inputs in order; a volume, or what cannot be read, is a Translated with an error.

    Raises InputError if the method makes no twins, or if the run changes grey levels in a way that
    cannot be undone (equalize, standardize, clahe).
    """
    data = trained.data
    trained.require_translations()
    for name in ("equalize", "standardize", "clahe"):
        if getattr(data, name):
            raise InputError(
                f"data.{name} cannot be undone, which full size needs; train a run without it"
            )
    return (_translate(trained, item) for item in inputs)


def _translate(trained: Trained, item: Input) -> Translated:
    data = trained.data
    if is_volume(item.path):
        return Translated(
            item, error="volumes cannot be translated; `a2bgan predict` writes their maps"
        )
    try:
        original = read_original(item.path, data.read_options)
        seen = preprocess(original.picture.values, data, original.picture.window)
        black, white = shown_range(original.picture.values, data, original.picture.window)
    except ImageError as error:
        return Translated(item, error=str(error))
    x = to_unit_range(seen[None]).to(trained.method.device)
    finding = trained.method.find(x, trained.pick.version)
    assert finding.twin is not None
    change = ((finding.twin - x) / 2)[0].float().cpu().numpy()
    height, width = original.picture.values.shape[:2]
    enlarged = np.stack([to_original_grid(plane, height, width, data) for plane in change])
    mask = None
    if finding.mask is not None:
        mask = to_original_grid(finding.mask[0].float().cpu().numpy(), height, width, data)
    return Translated(
        item,
        add_change(original, enlarged * np.float32(white - black)),
        original.alpha,
        mask,
        np.abs(enlarged).mean(axis=0),
    )


def add_change(original: Original, change: np.ndarray) -> np.ndarray:
    """The colours of an image with a change (C, H, W) in their own units, C 1 or 3.

    A grey change goes to all three colours alike, a change of colours to a grey image as their
    mean. Integers are rounded and stay within their type.
    """
    colours = original.colours
    if colours.ndim == 2:
        change = change.mean(axis=0)
    else:
        change = np.moveaxis(np.broadcast_to(change, (3, *change.shape[1:])), 0, -1)
    # Doubles hold 16-bit values and float32 ones without loss.
    changed = colours.astype(np.float64) + change
    if np.issubdtype(colours.dtype, np.integer):
        limits = np.iinfo(colours.dtype)
        changed = np.clip(np.rint(changed), limits.min, limits.max)
    in_their_type: np.ndarray = changed.astype(colours.dtype)
    return in_their_type
