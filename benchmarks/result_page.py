"""What the scripts of this folder have in common: options, and a page with the results."""

import argparse
import os
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

BY_HAND = "\n## What it means\n"
"""Heading of the part of a page that somebody wrote; scripts keep it."""


def script_parser(doc: str | None, out: str | None = None) -> argparse.ArgumentParser:
    """Options of a script that its docstring explains; ``out`` is the default of ``--out``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if out is not None:
        parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def write_page(path: Path, lines: Iterable[str]) -> None:
    """Write the title, question, command and tables of a page, and the version they are of.

    Makes the folders above the file. The text from the heading `## What it means` on, which
    somebody wrote by hand, is kept.
    """
    old = path.read_text(encoding="utf-8") if path.exists() else ""
    kept = old[old.index(BY_HAND) :] if BY_HAND in old else ""
    made = "\n".join([*lines, "", f"Measured with a2bgan {version('a2bgan')}."]) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made + kept, encoding="utf-8")


def as_settings(given: Sequence[str]) -> dict[str, Any]:
    """Settings of a `Detector` from ``key=value``, the value as YAML."""
    pairs = (setting.partition("=") for setting in given)
    return {key: yaml.safe_load(value) for key, _, value in pairs}


def head(title: str, question: str, script: str, options: str) -> list[str]:
    """Title of a page, its question, and the command that makes it again, with its threads."""
    threads = os.environ.get("OMP_NUM_THREADS")
    first = f"OMP_NUM_THREADS={threads} " if threads else ""
    command = f"`{first}python benchmarks/{script} {options}`"
    return [f"# {title}", "", question, "", command, ""]
