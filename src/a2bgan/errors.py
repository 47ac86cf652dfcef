"""The error of this package and its warnings, each a line for the user."""

import sys
import warnings
from collections.abc import Sequence

LONGEST = 4000
"""Characters of a message."""

UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)
"""Exceptions that damaged JSON leads to."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the thing and, where there is one, the fix. The command
    line prints it and exits with code 1; it never shows a stack trace for it.
    """

    def __init__(self, message: str) -> None:
        # It may quote a stranger's file: no second line, no control of the terminal, no flood.
        line = "".join(c if c.isprintable() else " " for c in message)
        super().__init__(line if len(line) <= LONGEST else f"{line[:LONGEST]}...")


def warn_caller(sentence: str) -> None:
    """Warn at the line that called into this package, however deep inside it that ends here."""
    frame, level = sys._getframe(), 1
    while (
        frame.f_back is not None
        and frame.f_globals.get("__name__", "").partition(".")[0] == "a2bgan"
    ):
        frame, level = frame.f_back, level + 1
    warnings.warn(sentence, stacklevel=level)


def not_installed(package: str, extra: str) -> InputError:
    """The error where a package that an extra of this one brings is not there."""
    return InputError(f"{package} is not installed; in the clone: pip install '.[{extra}]'")


def name_some(names: Sequence[str], separator: str = ", ") -> str:
    """The first three names, and how many more there are, for a message."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return separator.join(names[:3]) + more
