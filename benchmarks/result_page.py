"""What the scripts of this folder have in common: options, and a page with the results."""

import argparse
from collections.abc import Iterable
from pathlib import Path


def script_parser(doc: str | None, out: str | None = None) -> argparse.ArgumentParser:
    """Options of a script that its docstring explains; ``out`` is the default of ``--out``."""
    parser = argparse.ArgumentParser(
        description=doc, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    if out is not None:
        parser.add_argument("--out", type=Path, default=Path(out))
    return parser


def write_page(path: Path, lines: Iterable[str]) -> None:
    """Write lines of Markdown, making the folders above the file where they are missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n")
