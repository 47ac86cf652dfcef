"""The one error the command line turns into a single line of text."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line that names the thing and, where there is one, the fix. The command
    line prints it and exits with code 1; it never shows a stack trace for it.
    """
