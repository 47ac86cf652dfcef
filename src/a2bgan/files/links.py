"""Links inside folders that came from elsewhere: nothing is written, deleted or opened up through
one."""

import os
from pathlib import Path

from a2bgan.errors import InputError


def refuse_links(folder: Path) -> None:
    """InputError if there is a link anywhere in a folder, which itself may be one.

    A run folder is read and written by name. A link in one that a stranger made could stand for any
    file of the user.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if os.path.islink(os.path.join(place, name)):
                found = os.path.relpath(os.path.join(place, name), folder)
                raise InputError(
                    f"{folder}: {found!r} is a link, through which other files could be changed; "
                    "put in its place what it leads to, or remove it"
                )
