"""Which images there are below a folder; the same for training and for scoring."""

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
    return [path for path in _files_below(folder) if is_image(path)]


def others_below(folder: Path, known: Container[Path | None]) -> list[Path]:
    """The files, except hidden ones, that `images_below` does not take for images.

    known: images that were found before; they are not opened again.
    """
    seen = (path for path in _files_below(folder) if path not in known)
    return [path for path in seen if not is_hidden(path.name) and not is_image(path)]


def _files_below(folder: Path) -> list[Path]:
    found: list[Path] = []
    seen = set[str]()
    waiting = deque([str(folder)])
    while waiting:
        for place, folders, files in os.walk(waiting.popleft(), onerror=_refuse):
            real = os.path.realpath(place)
            if real in seen:  # a link leads here, or back to where the search came from
                folders.clear()
                continue
            seen.add(real)
            folders[:] = [name for name in folders if not is_hidden(name)]
            # os.walk does not follow them: what they lead to may still come under its own name.
            below = (os.path.join(place, name) for name in sorted(folders))
            waiting.extend(path for path in below if os.path.islink(path))
            found += [Path(place, name) for name in files]
    return found


def _refuse(error: OSError) -> None:
    shown = str(error.filename)
    shown = shown if shown.isprintable() else repr(shown)
    raise InputError(f"{shown}: cannot be read ({error.strerror})") from None
