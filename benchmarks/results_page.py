"""Pages of results, for the scripts of this folder."""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

BY_HAND = "## What it means"
"""Heading of the part of a page that somebody wrote; scripts keep it."""


def write_page(path: Path, lines: Sequence[str]) -> None:
    """Write the title, question, command and tables of a page, and the version they are of.

    The text from the heading `## What it means` on is kept as it was.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = old[old.find(f"\n{BY_HAND}\n") :] if f"\n{BY_HAND}\n" in old else ""
    made = "\n".join([*lines, "", f"Measured with a2bgan {version('a2bgan')}."]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made + kept, encoding="utf-8")
