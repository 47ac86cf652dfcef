"""The table of a benchmark of translators, the paper's Table 2 and more: CSV, Markdown, LaTeX."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from a2bgan.benchmark.text_tables import MethodRow, failure_lines, write_text_tables

MEASURES = {
    "fid": "FID",
    "kid": "KID",
    "psnr_inside": "PSNR inside",
    "psnr_inside_input": "of the input",
    "psnr_outside": "PSNR outside",
    "ssim_inside": "SSIM inside",
    "ssim_outside": "SSIM outside",
    "healthy_change": "change of normal",
    "lpips": "LPIPS",
}
"""Measures of `translation_quality.measure_translation` and their columns."""

DIGITS = {"kid": 5, "psnr_inside": 2, "psnr_inside_input": 2, "psnr_outside": 2, "fid": 3}


TranslatorRow = MethodRow[dict[str, Any]]
"""Repeats hold the measures of `measure_translation`, and ``generators``, ``discriminators``,
``parameters``, ``seconds_per_step``, ``steps``, ``peak_memory`` and ``peak_gpu_memory``."""


def translation_table(rows: Sequence[TranslatorRow]) -> tuple[list[str], list[list[str]]]:
    """Head and cells, the lowest FID first, failures last, without measures that nobody has."""
    good = sorted((row for row in rows if row.repeats), key=lambda row: row.mean("fid"))
    measures = {k: v for k, v in MEASURES.items() if any(r.mean(k) == r.mean(k) for r in good)}
    on_gpu = any(r.get("peak_gpu_memory") for row in good for r in row.repeats)
    head = ["method", "n", "# gen.", "# disc.", "parameters, M", "s/step", "steps", "memory, GB"]
    head += [*(["GPU, GB"] if on_gpu else []), *measures.values(), "note"]
    cells = []
    for row in good:
        line = [row.title, str(len(row.repeats))]
        line += [f"{row.mean(key):.0f}" for key in ("generators", "discriminators")]
        line.append(f"{row.mean('parameters') / 1e6:.2f}")
        line += [f"{row.mean('seconds_per_step'):.3g}", f"{row.mean('steps'):.0f}"]
        line.append(f"{row.mean('peak_memory') / 1e9:.2f}")
        line += [f"{row.mean('peak_gpu_memory') / 1e9:.2f}"] if on_gpu else []
        line += [_with_spread(row, measure) for measure in measures]
        cells.append([*line, f"failed: {row.failure}" if row.failure else ""])
    cells += failure_lines(rows, len(head))
    return head, cells


def write_translation_tables(
    folder: Path, rows: Sequence[TranslatorRow], command: str, lpips: bool
) -> list[Path]:
    """Write ``translation.csv``, ``.md`` and ``.tex`` and return their paths.

    Raises InputError if they cannot be written.
    """
    head, cells = translation_table(rows)
    first = next((row.repeats[0] for row in rows if row.repeats), None)
    lines = [f"`{command}`", ""]
    if first is not None:
        lines += [
            f"FID and KID of {first['translated']} translated test images to {first['reference']} "
            f"images of B, lower is better; network: {first['features']}. Mean of n trainings, "
            "(sd); the last checkpoint of each.",
            "",
        ]
    if first is not None and "psnr_inside" in first:
        lines += [
            "Against the truth, which training never saw: PSNR in dB and SSIM inside and outside "
            "of what was to be removed; *of the input*: PSNR inside if nothing is done; *change of "
            "normal*: mean absolute change, as a share of the range, of images with nothing to "
            "remove." + ("" if lpips else " LPIPS is left out: its weights were not given."),
            "",
        ]
    return write_text_tables(folder, "translation", lines, head, cells)


def _with_spread(row: TranslatorRow, measure: str) -> str:
    mean = row.mean(measure)
    if np.isnan(mean):
        return ""
    digits = DIGITS.get(measure, 4)
    values = [repeat[measure] for repeat in row.repeats]
    spread = f" ({np.std(values, ddof=1):.{digits}f})" if len(values) > 1 else ""
    return f"{mean:.{digits}f}{spread}"
