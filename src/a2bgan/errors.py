"""The one error the command line turns into a single line of text."""

from collections.abc import Sequence


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the thing and, where there is one, the fix. The command
    line prints it and exits with code 1; it never shows a stack trace for it.
    """


def name_some(names: Sequence[str], separator: str = ", ") -> str:
    """The first three names, and how many more there are, for a message."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return separator.join(names[:3]) + more
