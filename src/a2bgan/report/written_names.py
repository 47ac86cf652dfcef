"""Names of images and patients as tables and files can hold them."""

import re
from pathlib import Path

LONGEST = 180
"""Bytes of a name that are kept; file systems allow 255, which suffixes and numbers share."""

_SURROGATE = re.compile("[\ud800-\udfff]")
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def escaped(text: str) -> str:
    """A name as UTF-8 can hold it: Python reads bytes of others as surrogates, shown as \\udcff."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """A text for a terminal: control characters, which could act on it, are shown as \\x1b."""
    kept = ("\n", "\N{NO-BREAK SPACE}")
    return "".join(c if c.isprintable() or c in kept else repr(c)[1:-1] for c in escaped(text))


def no_formula(text: str) -> str:
    """A cell's text; where a spreadsheet would run it as a formula, with a "'" before it."""
    return f"'{text}" if text.startswith(_FORMULA) else text


def free_name(name: str, taken: dict[str, int]) -> str:
    """The file's own name without suffix, in UTF-8; a number is added where two share it.

    Long names are cut, so that what is added to them stays within a file system's limit.

    taken: the names given so far, each with the last number that was added to it; gets the new one.
    """
    from a2bgan.data.formats.kinds import KIND_OF_SUFFIX, image_suffix  # numpy takes a while

    # Not `escaped`: a backslash separates folders on some systems.
    path = Path(_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", name))
    suffix = image_suffix(path)
    # 1.2.840.113 has no suffix.
    stem = path.name[: -len(suffix)] if suffix in KIND_OF_SUFFIX else path.name
    stem = stem.encode("utf-8")[:LONGEST].decode("utf-8", "ignore")
    free, number = stem, taken.get(stem, 1)
    while free in taken:  # also where a file is really called that
        number += 1
        free = f"{stem}-{number}"
    taken[stem], taken[free] = number, 1
    return free
