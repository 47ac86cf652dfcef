"""How a slice of a volume is named: ``head.nii.gz#axial-0042``, where a path of an image stands.

The number counts along the patient's axis (to the right, anterior or superior), whatever the order
of the file.
"""

import re
from pathlib import Path
from typing import NamedTuple

AXES = ("sagittal", "coronal", "axial")
"""Which of the RAS+ axes, to the right, anterior and superior, slices are stacked along."""

_SLICE = re.compile(rf"(.+)#({'|'.join(AXES)})-(\d{{4,6}})", re.DOTALL)


class SliceName(NamedTuple):
    """The volume as it is named, one of AXES, and the place along it from 0 on."""

    volume: str
    axis: str
    place: int

    @property
    def fragment(self) -> str:
        """What follows the volume's name."""
        return f"#{self.axis}-{self.place:04d}"

    def __str__(self) -> str:
        return self.volume + self.fragment


def parse_slice(name: str | Path) -> SliceName | None:
    """A name or path taken apart; None where it is not that of a slice."""
    text = str(name)
    found = _SLICE.fullmatch(text) if "#" in text else None
    return None if found is None else SliceName(found[1], found[2], int(found[3]))


def volume_of(name: str | Path) -> str:
    """The volume's name or path of a slice's; of any other image its own."""
    found = parse_slice(name)
    return str(name) if found is None else found.volume


def fragment_of(name: str | Path) -> str:
    """What tells a slice from the others of its volume; "" for other images."""
    found = parse_slice(name)
    return "" if found is None else found.fragment
