"""The two consoles: results to standard output, everything else to standard error."""

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from a2bgan.report.written_names import printable

output = Console()
errors = Console(stderr=True)

LISTED = 10
"""Failures listed one by one; the rest are counted."""


def list_failures(
    failures: Sequence[tuple[str, str]], consequence: str, what: str = "image"
) -> None:
    """One line for each (name, reason), and a count."""
    for name, reason in failures[:LISTED]:
        shown = escape(printable(name)), escape(printable(reason))
        errors.print(f"[yellow]{shown[0]}[/]: {shown[1]}", soft_wrap=True)
    if len(failures) > LISTED:
        errors.print(f"... and {len(failures) - LISTED} more")
    if failures:
        noun = what if len(failures) == 1 else f"{what}s"
        errors.print(f"[yellow]{len(failures)} {noun} {consequence}[/]", soft_wrap=True)


def say_written(path: object, made: str = "") -> None:
    """Where something was written, and how much; brackets in names are no markup."""
    output.print(printable(f"{made} -> {path}".lstrip()), markup=False, soft_wrap=True)
