"""What the tables of benchmarks share: numbers over repeats, and files that people and programs
read."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np


def mean_of_repeats(values: Sequence[float | None]) -> float:
    """The mean; NaN where there is none or one is not defined."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else float("nan")


def write_text_tables(
    folder: Path, name: str, above: Sequence[str], head: Sequence[str], cells: Sequence[list[str]]
) -> list[Path]:
    """Write ``NAME.csv``, ``.md``, with lines above the table, and ``.tex`` and return their paths.

    Raises OSError.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in ("csv", "md", "tex")]
    folder.mkdir(parents=True, exist_ok=True)
    with paths[0].open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *cells])
    lines = [*above, _bar(head), _bar(["---"] * len(head)), *map(_bar, cells)]
    paths[1].write_text("\n".join(lines) + "\n", encoding="utf-8")
    paths[2].write_text(_latex(head, cells), encoding="utf-8")
    return paths


def _bar(cells: Sequence[str]) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _latex(head: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """A table for LaTeX with booktabs."""
    escapes = {c: f"\\{c}" for c in "%&_#${}"} | {
        "\\": "\\textbackslash{}", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}"
    }  # fmt: skip

    def line(row: Sequence[str]) -> str:
        texts = ("".join(escapes.get(c, c) for c in cell) for cell in row)
        return f"{' & '.join(texts)} \\\\"

    columns = "l" + "r" * (len(head) - 2) + "l"
    body = [line(head), "\\midrule", *map(line, cells)]
    inner = "\n".join(["\\toprule", *body, "\\bottomrule"])
    return f"\\begin{{tabular}}{{{columns}}}\n{inner}\n\\end{{tabular}}\n"
