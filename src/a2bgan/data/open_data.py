"""Open a data set however it is given: manifest, folder, or the name of the phantoms."""

import os
from dataclasses import replace
from pathlib import Path

from a2bgan.data.cache.folder import default_cache_dir, private_folder
from a2bgan.data.folder_layout import scan_folder
from a2bgan.data.manifest import Manifest, read_manifest, shown_path
from a2bgan.data.pseudonyms import identify
from a2bgan.errors import InputError

PHANTOM_FOLDER = "phantom-1-seed0"


def open_data(source: str | Path, *, keep_identifiers: bool = False) -> Manifest:
    """Open a data set, however it is given; patients get pseudonyms unless `keep_identifiers`.

    source: a manifest (CSV), a folder with a manifest.csv in it, a folder with the sub-folders that
    `scan_folder` knows, or the name "phantom": generated phantoms, written below the cache folder
    the first time. A folder that is itself called phantom is opened as "./phantom".
    Raises InputError.
    """
    if source == "phantom":
        return read_manifest(_default_phantoms())
    path = Path(source)
    if os.path.isdir(path):
        inside = path / "manifest.csv"
        manifest = read_manifest(inside) if os.path.isfile(inside) else scan_folder(path)
    else:
        manifest = read_manifest(path)
    rows = (
        replace(row, patient_id=identify(row.path, row.known_patient, keep_identifiers) or row.name)
        for row in manifest.rows
    )
    return replace(manifest, rows=tuple(rows))


def _default_phantoms() -> Path:
    """The manifest of the default phantoms, which are written at the first use."""
    folder = default_cache_dir() / PHANTOM_FOLDER
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    # Generating takes a while and only "phantom" needs it.
    from a2bgan.data.generate.phantoms import write_phantoms

    try:
        private_folder(folder.parent)
    except OSError as error:
        raise InputError(
            f"{shown_path(folder.parent)}: cannot create the cache folder ({error.strerror}); "
            "set A2BGAN_CACHE to a folder that can be written"
        ) from None
    try:
        write_phantoms(folder)
    except InputError:
        # The folder appears whole or not at all; another process may have been first.
        if not manifest.is_file():
            raise
    return manifest
