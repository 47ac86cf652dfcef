"""Replace the rows of volumes by rows of their slices."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from a2bgan.data.config import DataConfig
from a2bgan.data.formats.kinds import is_dicom, is_volume
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.slice_names import SliceName, parse_slice, volume_of
from a2bgan.data.manifest import Manifest, Row
from a2bgan.files.ordered_work import in_order


def expand_volumes(manifest: Manifest, config: DataConfig) -> Manifest:
    """The same manifest with every volume (a NIfTI file, or the folder of a DICOM series) as its
    slices, by the section `data` of a configuration.

    A slice is named ``VOLUME#axial-0042``; split and label are the volume's, the patient too, or
    else the volume itself; mask and twin are the same slice of theirs. A volume that cannot be
    used, or of which no slice is left, stays as it is: its reader says why.
    """
    rows = tuple(_merged(manifest)) if config.series == "volume" else manifest.rows
    if not any(is_volume(row.path) for row in rows):
        return replace(manifest, rows=rows)
    from a2bgan.data.formats.volumes import KEPT, forget_volumes  # nibabel takes a while

    # Each thread has a volume in memory.
    with ThreadPoolExecutor(KEPT) as pool:
        parts = in_order(pool, lambda row: _slices(row, config), rows, ahead=KEPT)
        expanded = tuple(row for part in parts for row in part)
    forget_volumes()
    return replace(manifest, rows=expanded)


def count_volumes(rows: Sequence[Row]) -> tuple[int, int]:
    """Numbers of volumes and of slices among rows."""
    slices = [volume_of(row.name) for row in rows if parse_slice(row.name) is not None]
    return len(set(slices)), len(slices)


def _slices(row: Row, config: DataConfig) -> list[Row]:
    if not is_volume(row.path):
        return [row]
    from a2bgan.data.formats.volumes import chosen_slices, read_volume  # nibabel takes a while

    axis = config.volume_axis
    try:
        places = chosen_slices(read_volume(row.path), axis, config.slices, config.skip_empty)
    except ImageError:
        return [row]
    mask, twin = (_on_its_grid(row, other) for other in (row.mask, row.twin))

    def part(path: Path, k: int) -> Path:
        return Path(str(SliceName(str(path), axis, k)))

    return [
        replace(
            row,
            name=str(SliceName(row.name, axis, k)),
            path=part(row.path, k),
            mask=part(row.mask, k) if mask and row.mask is not None else row.mask,
            twin=part(row.twin, k) if twin and row.twin is not None else row.twin,
        )
        for k in places
    ] or [row]


def _on_its_grid(row: Row, other: Path | None) -> bool:
    """True for a mask or twin that is a volume with the slices of the row's volume."""
    from a2bgan.data.formats.grid import same_places
    from a2bgan.data.formats.volumes import read_grid

    try:
        return (
            other is not None
            and is_volume(other)
            and same_places(read_grid(row.path), read_grid(other))
        )
    except ImageError:
        return False


def _merged(manifest: Manifest) -> Iterator[Row]:
    """DICOM files of a folder and a split as one row, the folder."""
    seen = set[tuple[Path, str]]()
    for row in manifest.rows:
        folder = row.path.parent
        if not is_dicom(row.path) or folder == manifest.root:
            yield row
        elif (folder, row.split) not in seen:
            seen.add((folder, row.split))
            name = folder.relative_to(manifest.root).as_posix()
            yield replace(row, name=name, path=folder, patient_id=row.known_patient or name)
