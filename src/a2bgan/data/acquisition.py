"""Acquisition of an image: view, side, scanner, station, age and sex."""

from collections.abc import Sequence
from pathlib import Path

from a2bgan.data.formats.kinds import dicom_of, is_dicom
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.data.manifest import TAGS, Row

AGE_GROUPS = (18, 40, 60, 80)
"""First ages, in years, of the groups above the youngest."""

_YEARS = {"Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def acquisition_of(row: Row) -> dict[str, str]:
    """Read how an image was taken, by name: from columns first, then from the DICOM header."""
    known = dict(row.tags)
    missing = [name for name in TAGS if name not in known]
    path = dicom_of(Path(volume_of(row.path)))
    if missing and is_dicom(path):
        from a2bgan.data.formats.dicom.header import read_tags

        tags = read_tags(path, [word for name in missing for word in TAGS[name]]) or {}
        for name in missing:
            found = [value for word in TAGS[name] for value in tags.get(word, ())[:1]]
            if found and found[0]:
                known[name] = found[0]
    return {name: value if name == "age" else value.upper() for name, value in known.items()}


def age_in_years(text: str) -> float | None:
    """An age as DICOM (`054Y`, `018M`) or a spreadsheet (`54`) writes it; None if neither."""
    text = text.strip().upper()
    unit = _YEARS.get(text[-1:])
    try:
        years = float(text[:-1]) * unit if unit is not None else float(text)
    except ValueError:
        return None
    return years if 0 <= years < 150 else None


def age_group(text: str) -> str:
    """The group of an age, such as "40 to 59"; "" where the text is none."""
    if (years := age_in_years(text)) is None:
        return ""
    edges = (0, *AGE_GROUPS)
    place = max(k for k, edge in enumerate(edges) if years >= edge)
    return (
        f"{edges[place]} to {edges[place + 1] - 1}" if place + 1 < len(edges) else f"{edges[-1]}+"
    )


def groups_of(rows: Sequence[Row]) -> dict[str, list[str]]:
    """Values of every row by name, "" where unknown, of the names that any row has; ages in
    groups."""
    known = [acquisition_of(row) for row in rows]
    groups = {name: [found.get(name, "") for found in known] for name in TAGS}
    groups["age"] = [age_group(value) for value in groups["age"]]
    return {name: values for name, values in groups.items() if any(values)}
