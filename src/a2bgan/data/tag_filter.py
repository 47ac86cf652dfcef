"""Keep the images with given DICOM tags: ``ViewPosition=PA,Modality=DX|CR``."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from a2bgan.data.formats.kinds import dicom_of
from a2bgan.data.manifest import Manifest
from a2bgan.errors import InputError

# Conditions are written into the run; these would write a patient's identity with them.
IDENTIFYING = (
    "AccessionNumber", "OtherPatientIDs", "OtherPatientNames", "PatientAddress",
    "PatientBirthDate", "PatientBirthName", "PatientID", "PatientName", "PatientTelephoneNumbers",
)  # fmt: skip

T = TypeVar("T")


class TagFilter:
    """Conditions on top-level elements, all of which must hold.

    text: KEYWORD=VALUE with commas between; several values of one with | between; capitals do not
    matter. Raises InputError for what cannot be read, and for keywords that identify a patient.
    """

    def __init__(self, text: str) -> None:
        from pydicom.datadict import tag_for_keyword

        self.text = text
        self._conditions: dict[str, list[str]] = {}
        for part in text.split(","):
            keyword, equals, values = (piece.strip() for piece in part.partition("="))
            if not equals or not keyword or not values:
                raise InputError(
                    f"--where {text}: expected KEYWORD=VALUE, such as ViewPosition=PA,Modality=DX"
                )
            if keyword in IDENTIFYING:
                raise InputError(
                    f"--where: {keyword} identifies patients and would be written into the run; "
                    "choose the images by a manifest"
                )
            if tag_for_keyword(keyword) is None:
                raise InputError(
                    f"--where: no DICOM keyword {keyword!r}; write it as ViewPosition or Modality"
                )
            if keyword in self._conditions:
                raise InputError(f"--where: {keyword} twice; put | between its values")
            self._conditions[keyword] = [value.strip().upper() for value in values.split("|")]

    def matches(self, path: Path) -> bool | None:
        """True for a file with the tags; None for one that is not DICOM or cannot be read."""
        from a2bgan.data.formats.dicom.header import read_tags

        tags = read_tags(dicom_of(path), list(self._conditions))
        if tags is None:
            return None
        return all(
            any(value.upper() in wanted for value in tags.get(keyword, ()))
            for keyword, wanted in self._conditions.items()
        )

    def keep(self, items: Sequence[T], path_of: Callable[[T], Path]) -> tuple[list[T], str]:
        """The items whose files match, and one sentence on that. InputError if there are none."""
        found = [self.matches(path_of(item)) for item in items]
        kept = [item for item, matches in zip(items, found, strict=True) if matches]
        sentence = f"--where {self.text}: {len(kept)} of {len(items)} images"
        if untagged := found.count(None):
            sentence += f"; {untagged} left out because no DICOM tags can be read from them"
        if not kept:
            raise InputError(sentence)
        return kept, sentence

    def narrow(self, manifest: Manifest) -> tuple[Manifest, str]:
        """The manifest with only the rows whose files match, which notes why; and a sentence.

        To be asked before volumes become slices, which have no tags of their own. InputError if no
        row matches.
        """
        rows, sentence = self.keep(manifest.rows, lambda row: row.path)
        return replace(manifest, rows=tuple(rows), where=self.text), sentence
