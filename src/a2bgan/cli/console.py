"""The two consoles: results to standard output, everything else to standard error."""

import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from a2bgan.report.written_names import printable

_PACKAGE = Path(__file__).parents[1]

_SETTING = re.compile(
    r"(?<![\w./\\'\"-])(?<!--set )((?:data|holdout|method|selection|train)\.[a-z_.]+=)"
)

stdout = Console()
stderr = Console(stderr=True)

LISTED = 10
"""Failures listed one by one; the rest are counted."""


def say(text: str) -> None:
    """Print a result as it is, without wrapping; brackets are no markup."""
    stdout.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print to standard error as it is, without wrapping; brackets are no markup."""
    stderr.print(printable(text), markup=False, highlight=False, soft_wrap=True)


def with_options(text: str) -> str:
    """A message as the command says it: messages name settings, such as ``train.minutes=60``, which
    are given to the command by ``--set``."""
    return _SETTING.sub(r"--set \1", text)


def warn(text: str, label: str = "warning") -> None:
    """Print a warning to standard error, after a coloured label."""
    shown = escape(printable(with_options(text)))
    stderr.print(f"[yellow]{label}:[/] {shown}", highlight=False, soft_wrap=True)


@contextmanager
def own_warnings_in_a_line() -> Iterator[None]:
    """Show the warnings that this package gives to Python as `warn` does, inside the block."""
    with warnings.catch_warnings():
        as_before = warnings.showwarning

        def show(
            message: Warning | str, category: type[Warning], filename: str, *more: Any
        ) -> None:
            if Path(filename).is_relative_to(_PACKAGE):
                warn(" ".join(str(message).split()))
            else:
                as_before(message, category, filename, *more)

        warnings.showwarning = show
        yield


@contextmanager
def counting(doing: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yield a function that is told how many are done, and show a bar with the time that is left.

    The bar is for terminals, and goes when all is done.
    """
    from rich.progress import Progress

    with Progress(console=stderr, transient=True, disable=not stderr.is_terminal) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda done: bar.update(task, completed=done)


def say_written(path: object, made: str = "") -> None:
    """Print where something was written, and what."""
    say(f"{made} -> {path}".lstrip())


def say_next(*command: object) -> None:
    """Print the command that usually comes next, to be pasted."""
    note(f"next: {shlex.join(['a2bgan', *map(str, command)])}")


def list_failures(
    failures: Sequence[tuple[str, str]],
    consequence: str,
    what: str = "image",
    count: int | None = None,
) -> None:
    """Print a line for each (name, reason), and a count; both may come from a named tuple.

    count: of all failures, where ``failures`` are only the first of them.
    """
    count = len(failures) if count is None else count
    for name, reason in failures[:LISTED]:
        warn(reason, escape(printable(name)))
    if count > LISTED:
        note(f"... and {count - LISTED} more")
    if count:
        noun = what if count == 1 else f"{what}s"
        stderr.print(f"[yellow]{count} {noun} {consequence}[/]", soft_wrap=True)
