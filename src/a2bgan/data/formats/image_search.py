"""Find the images below a folder, in the same way for training and for scoring."""

import os
from collections import deque
from collections.abc import Container
from pathlib import Path

from a2bgan.data.formats.kinds import is_hidden, is_image
from a2bgan.errors import InputError


def images_below(folder: Path) -> list[Path]:
    """The images in a folder and its sub-folders, in no particular order.

    Hidden files and folders are passed over. Links to folders are followed, each folder once, under
    its own name where it has one here. Raises InputError for a folder that cannot be read.
    """
    return search(folder)[0]


def search(folder: Path, leave_out: Container[str] = ()) -> tuple[list[Path], list[Path]]:
    """`images_below`, and the other files there except hidden ones.

    leave_out: names of sub-folders of `folder` that are not searched.
    """
    images: list[Path] = []
    others: list[Path] = []
    seen = set[str]()
    waiting = deque([str(folder)])
    while waiting:
        for place, folders, files in os.walk(waiting.popleft(), onerror=_refuse):
            real = os.path.realpath(place)
            if real in seen:  # a link leads here, or back to where the search came from
                folders.clear()
                continue
            seen.add(real)
            left_out = leave_out if place == str(folder) else ()
            folders[:] = [n for n in folders if not is_hidden(n) and n not in left_out]
            # os.walk does not follow links: their targets may still come under their own name.
            below = (os.path.join(place, name) for name in sorted(folders))
            waiting.extend(path for path in below if os.path.islink(path))
            for path in (Path(place, name) for name in files if not is_hidden(name)):
                (images if is_image(path) else others).append(path)
    return images, others


def _refuse(error: OSError) -> None:
    shown = str(error.filename)
    shown = shown if shown.isprintable() else repr(shown)
    raise InputError(f"{shown}: cannot be read ({error.strerror})") from None
