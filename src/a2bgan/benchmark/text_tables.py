"""Parts of all benchmark tables: a method's row, and files for people and programs."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from a2bgan.errors import InputError
from a2bgan.files.markdown import table_head, table_row
from a2bgan.training.methods.method import Facts


class Measures(Protocol):
    """The measures of one training, by name."""

    def get(self, name: str, /) -> Any:
        """A measure; None where it is not defined."""


M = TypeVar("M", bound=Measures)


@dataclass(frozen=True, slots=True, eq=False)
class MethodRow(Generic[M]):
    """A method's repeated trainings; none where one failed for the reason given."""

    name: str
    facts: Facts
    repeats: Sequence[M]
    failure: str = ""

    @property
    def title(self) -> str:
        """The method and its preset."""
        return f"{self.facts.title} ({self.name})"

    def mean(self, measure: str) -> float:
        """Mean over the repeats; NaN where there is none or one has no such measure."""
        values = [repeat.get(measure) for repeat in self.repeats]
        return float(np.mean(values)) if values and None not in values else float("nan")


def failure_lines(rows: Sequence[MethodRow[Any]], columns: int) -> list[list[str]]:
    """A line for each method without a result: its title, gaps, and the reason as a note."""
    gaps = [""] * (columns - 2)
    return [[r.title, *gaps, f"failed: {r.failure}"] for r in rows if not r.repeats]


def write_text_tables(
    folder: Path, name: str, above: Sequence[str], head: Sequence[str], cells: Sequence[list[str]]
) -> list[Path]:
    """Write ``NAME.csv``, ``.md``, with lines above the table, and ``.tex`` and return their paths.

    Raises InputError if they cannot be written.
    """
    paths = [folder / f"{name}.{suffix}" for suffix in ("csv", "md", "tex")]
    lines = [*above, *table_head(head), *map(table_row, cells)]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with paths[0].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *cells])
        paths[1].write_text("\n".join(lines) + "\n", encoding="utf-8")
        paths[2].write_text(_latex(head, cells), encoding="utf-8")
    except OSError as error:
        raise InputError(f"{folder}: cannot be written ({error.strerror})") from None
    return paths


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
