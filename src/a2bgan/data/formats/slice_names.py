"""Names of slices of volumes: ``head.nii.gz#axial-0042``, in place of an image's path.

The number counts along the patient's axis (to the right, anterior or superior), whatever the order
of the file.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

AXES = ("sagittal", "coronal", "axial")
"""Names of slices stacked along each of the RAS+ axes: to the right, anterior, superior."""

_SLICE = re.compile(rf"(.+)#({'|'.join(AXES)})-(\d{{4,6}})", re.DOTALL)


class SliceName(NamedTuple):
    """The volume as it is named, one of AXES, and the place along it from 0 on."""

    volume: str
    axis: str
    place: int

    @property
    def fragment(self) -> str:
        """The part of the name after the volume's."""
        return f"#{self.axis}-{self.place:04d}"

    def __str__(self) -> str:
        return self.volume + self.fragment


def parse_slice(name: str | Path) -> SliceName | None:
    """Take a name or path apart; None where it is not that of a slice."""
    text = str(name)
    found = _SLICE.fullmatch(text) if "#" in text else None
    return None if found is None else SliceName(found[1], found[2], int(found[3]))


def slices_of(volume: str, axis: str, places: Iterable[int]) -> list[str]:
    """Names or paths of a volume's slices."""
    return [str(SliceName(volume, axis, place)) for place in places]


def volume_of(name: str | Path) -> str:
    """The name or path of a slice's volume; for any other image its own."""
    found = parse_slice(name)
    return str(name) if found is None else found.volume


def fragment_of(name: str | Path) -> str:
    """The part of a slice's name after its volume's; "" for other images."""
    found = parse_slice(name)
    return "" if found is None else found.fragment
