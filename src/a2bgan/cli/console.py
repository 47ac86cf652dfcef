"""The two consoles: results to standard output, everything else to standard error."""

import re
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from a2bgan.report.written_names import printable

_ALONE = r"(?<![\w./\\'\"-])(?<!--set )"
"""Not in a path or in quotes, and not said as an option already."""

_SETTING = re.compile(rf"{_ALONE}((?:data|holdout|method|selection|train)\.[a-z_.]+=)")

_OPTIONS = {
    "allow_leaks=True": "--allow-leaks",
    "overwrite=True": "--overwrite",
    "resume=True": "--resume",
    "method.backbone_weights=PATH": "--set method.backbone_weights=PATH, of `a2bgan benchmark` "
    "--backbone-weights PATH",
}
"""Options of the command, by the parameters and settings that messages name."""

_OPTION = re.compile(rf"{_ALONE}({'|'.join(map(re.escape, _OPTIONS))})\b")

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
    """A message as the command says it.

    Messages name settings, such as ``train.minutes=60``, and parameters of Python, such as
    ``resume=True``; the command takes the ones by ``--set``, the others as options.
    """
    return _SETTING.sub(r"--set \1", _OPTION.sub(lambda found: _OPTIONS[found[1]], text))


def warn(text: str, label: str = "warning") -> None:
    """Print a warning to standard error, after a coloured label."""
    shown = escape(printable(with_options(text)))
    stderr.print(f"[yellow]{label}:[/] {shown}", highlight=False, soft_wrap=True)


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
