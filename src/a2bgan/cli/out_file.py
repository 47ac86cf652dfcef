"""Files that `--out` names: looked at before minutes are spent on what they will hold."""

from pathlib import Path

from a2bgan.errors import InputError


def require_place(out: Path) -> None:
    """Raises InputError if no file can be there: a folder is, or there is none to put it into."""
    if out.is_dir():
        raise InputError(f"{out}: cannot be written (a folder); give --out a file in it")
    if not out.parent.is_dir():
        raise InputError(
            f"{out}: cannot be written (no folder {out.parent}); make it, or choose another --out"
        )
