"""Hold images out of training: one part to choose by, one to set the threshold by."""

import csv
import io
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from a2bgan.data import bounds
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.data.manifest import Manifest, Row
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically

Part = Literal["training", "selection", "calibration"]

COLUMNS = ("path", "part")


class HoldoutConfig(BaseModel):
    """Section ``holdout``: what is kept from training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    fraction: float = Field(ge=0, le=0.25, description="of a set, for each purpose")
    at_least: int = Field(
        ge=0,
        le=bounds.STEPS,
        description="images or volumes to select by, half as many patients to calibrate",
    )
    at_most: float | None = Field(
        None, ge=0, le=1, description="of a set; where at_least is more, none to select by"
    )
    seed: int = Field(ge=0, le=bounds.SEED, description="of the draw; not train.seed's business")

    def selects(self, smallest: int) -> bool:
        """True where a smaller set of so many images leaves something to select by."""
        return self.at_most is None or self.at_least <= self.at_most * smallest


class Holdout:
    """The rows of a manifest that are kept from training, by purpose.

    ``selection``: healthy and mixed images by which checkpoint and score are chosen.
    ``calibration``: other healthy images, by which the threshold is set. The guarantee on false
    alarms does not hold for images that helped to choose a score.
    """

    def __init__(self, parts: dict[str, Part]) -> None:
        self._parts = parts

    def rows(self, manifest: Manifest, split: str, part: Part) -> tuple[Row, ...]:
        """The rows of a split, healthy or mixed, that belong to a part."""
        return tuple(
            row for row in manifest.split(split) if self._parts.get(row.name, "training") == part
        )

    def write(self, path: Path) -> None:
        """CSV with ``path`` and ``part`` of every row that is not for training."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        table.writerows(sorted(self._parts.items()))
        # Other processes wait for the file and read it as soon as it is there.
        write_atomically(path, text.getvalue())

    @classmethod
    def read(cls, path: Path) -> "Holdout":
        """Read a file of `write`. Raises InputError if it is not there or not readable."""
        try:
            with path.open(newline="", encoding="utf-8") as file:
                header, *lines = csv.reader(file)
        except (OSError, ValueError) as error:
            raise InputError(f"{path}: held-out images cannot be read ({error})") from None
        if tuple(header) != COLUMNS or any(len(line) != len(COLUMNS) for line in lines):
            raise InputError(f"{path}: not a list of held-out images")
        return cls(dict(lines))  # type: ignore[arg-type]


def hold_out(manifest: Manifest, config: HoldoutConfig) -> Holdout:
    """Draw the images that training is not to see, by patients.

    Of the healthy set a share for selection and another for calibration, of the mixed set a share
    for selection: ``fraction`` of the set, or ``at_least`` images (for calibration half as many
    patients) where that is more, but never more than a third of a set for one purpose or half of it
    in all. All slices of a volume count as one image, because patients are then compared. Where
    ``at_least`` is more than the share ``at_most`` of either set, slices counted, nothing is held
    out for selection: so few say little about which checkpoint is best, and learning from them
    gains more. A patient of both sets is held out of both; mixed images of calibration patients
    are not used at all.

    Depends on names, on who is the same patient, on splits and the seed: never on labels or on what
    patients are called.
    """
    if config.fraction == 0:
        return Holdout({})
    rng = np.random.default_rng(config.seed)
    purpose: dict[str, Part] = {}
    drawn: dict[str, tuple[Part, ...]] = {
        "healthy": ("selection", "calibration"),
        "mixed": ("selection",),
    }
    smallest = min(len(manifest.split(split)) for split in drawn)
    selecting = config.selects(smallest)
    for split, purposes in drawn.items():
        parts = [part for part in purposes if selecting or part != "selection"]
        images = _images_of_patients(manifest.split(split))
        # Not by their identifiers: pseudonyms differ from one key to another, the draw must not.
        first = _first_names(manifest.split(split))
        patients = sorted(images, key=first.__getitem__)
        order = [patients[i] for i in rng.permutation(len(patients))]
        for part in parts:
            # Images are selected by; patients are flagged.
            size = images if part == "selection" else dict.fromkeys(images, 1)
            least = config.at_least if part == "selection" else config.at_least // 2
            total = sum(size.values())
            most = min(total // 3, total // 2 // len(parts))
            wanted = min(max(round(config.fraction * total), least), most)
            room = sum(images.values()) // 2 // len(parts)
            count = sum(size[patient] for patient in order if purpose.get(patient) == part)
            for patient in order:
                if count >= wanted:
                    break
                # One with more images than may be held out stays where it is.
                if patient not in purpose and images[patient] <= room:
                    purpose[patient] = part
                    count += size[patient]
                    room -= images[patient]
    return Holdout(
        {
            row.name: purpose[row.patient_id]
            for split in drawn
            for row in manifest.split(split)
            if row.patient_id in purpose
        }
    )


def _images_of_patients(rows: Sequence[Row]) -> dict[str, int]:
    images: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        images[row.patient_id].add(volume_of(row.name))
    return {patient: len(names) for patient, names in images.items()}


def _first_names(rows: Sequence[Row]) -> dict[str, str]:
    """The first image, by name, of each patient."""
    first: dict[str, str] = {}
    for row in rows:
        first[row.patient_id] = min(row.name, first.get(row.patient_id, row.name))
    return first
