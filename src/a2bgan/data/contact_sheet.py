"""A picture with samples of every set, to look at before training."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from a2bgan.errors import InputError

SAMPLES_PER_SPLIT = 12


def contact_sheet(images_by_split: Mapping[str, np.ndarray], path: Path) -> None:
    """Write a PNG with a labelled row of up to 12 evenly spaced images for each split.

    images_by_split: (N, C, H, W) uint8 or uint16 each, C 1 or 3; empty splits are left out.
    Raises InputError when there is no image at all or the file cannot be written.
    """
    shown = {split: images for split, images in images_by_split.items() if len(images)}
    if not shown:
        raise InputError(f"{path}: no usable images to show; check the paths in the manifest")
    tile, gap, caption = 96, 4, 20
    columns = max(min(len(images), SAMPLES_PER_SPLIT) for images in shown.values())
    row_height = caption + tile + gap
    # Wide enough for the captions of a set of a single image.
    width = max(gap + columns * (tile + gap), 240)
    sheet = Image.new("RGB", (width, gap + len(shown) * row_height), "white")
    draw = ImageDraw.Draw(sheet)
    for line, (split, images) in enumerate(shown.items()):
        top = gap + line * row_height
        count = min(len(images), SAMPLES_PER_SPLIT)
        total = f"{len(images):,} image" + "s" * (len(images) != 1)
        text = f"{split}: {total}" if count == len(images) else f"{split}: {count} of {total}"
        draw.text((gap, top), text, "black", ImageFont.load_default(14))
        for column, k in enumerate(np.linspace(0, len(images) - 1, count).round().astype(int)):
            picture = _to_picture(images[k]).resize((tile, tile), Image.Resampling.BICUBIC)
            sheet.paste(picture, (gap + column * (tile + gap), top + caption))
    try:
        sheet.save(path, format="PNG")
    except OSError as error:
        raise InputError(f"{path}: cannot be written ({error.strerror or error})") from None


def _to_picture(image: np.ndarray) -> Image.Image:
    levels = (image >> 8).astype(np.uint8) if image.dtype == np.uint16 else np.asarray(image)
    return Image.fromarray(levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1))
