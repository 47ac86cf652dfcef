"""`a2bgan` for the scripts of this folder, in the same process."""

from a2bgan.cli.app import app

INTERRUPTED = 130


def a2bgan(*words: object) -> None:
    """Run `a2bgan` with these words. A failure that it has told of is no error; what the user
    interrupts ends the script, too."""
    code = app([str(word) for word in words], standalone_mode=False)
    if code == INTERRUPTED:
        raise SystemExit(code)
