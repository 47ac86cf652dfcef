"""Files of `translate`: translated images, masks, differences and a table."""

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from a2bgan.data.formats.originals import write_original
from a2bgan.detection.translate import Translated
from a2bgan.errors import InputError
from a2bgan.models.blend import DIFFERENCE_SCALE
from a2bgan.report.written_names import escaped, free_name, no_formula

COLUMNS = ("path", "translated", "mask", "difference", "mean_change", "error")


def write_translations(found: Iterable[Translated], out: Path) -> tuple[int, list[tuple[str, str]]]:
    """Write ``translated/``, ``masks/`` (where there are any), ``differences/`` and a table.

    Masks and differences are grey PNGs of the input's size; white is a mask of 1 or a change of
    `DIFFERENCE_SCALE` of the range. Returns how many images were translated, and the others as
    (name, reason). Raises InputError if `out` cannot be written.
    """
    written, failures = 0, []
    taken = dict[str, int]()
    try:
        for name in ("translated", "differences"):
            (out / name).mkdir(parents=True, exist_ok=True)
        with (out / "translations.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(COLUMNS)
            for image in found:
                shown = escaped(image.input.name)
                if image.colours is None or image.change is None:
                    failures.append((shown, escaped(image.error)))
                    table.writerow((no_formula(shown), "", "", "", "", failures[-1][1]))
                    continue
                stem = free_name(image.input.name, taken)
                target = write_original(
                    out / "translated" / stem, image.input.path, image.colours, image.alpha
                )
                mask = ""
                if image.mask is not None:
                    mask = f"masks/{stem}.png"
                    (out / "masks").mkdir(exist_ok=True)
                    _save_grey(out / mask, image.mask)
                difference = f"differences/{stem}.png"
                _save_grey(out / difference, image.change / DIFFERENCE_SCALE)
                mean = f"{image.change.mean():.6f}"
                place = f"translated/{target.name}"
                table.writerow((no_formula(shown), place, mask, difference, mean, ""))
                written += 1
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return written, failures


def _save_grey(path: Path, shares: np.ndarray) -> None:
    levels = np.clip(np.rint(255 * shares), 0, 255).astype(np.uint8)
    Image.fromarray(levels).save(path)
