"""Options of commands that open images: which of them, and what patients are called."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import note, warn
from a2bgan.data.formats.slice_names import volume_of
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.data.config import DataConfig
    from a2bgan.data.manifest import Manifest
    from a2bgan.training.run_folder import RunFolder

WhereOption = Annotated[
    str | None,
    typer.Option(
        help="Only DICOM images with these tags, such as ViewPosition=PA,Modality='DX|CR'."
    ),
]
KeepIdentifiersOption = Annotated[
    bool,
    typer.Option(
        "--keep-identifiers", help="Write patient identifiers as they are, not pseudonyms."
    ),
]

AllowLeaksOption = Annotated[
    bool,
    typer.Option(
        "--allow-leaks", help="Go on where sets have patients or images in common; it is noted."
    ),
]


def require_sources(sources: Sequence[Path]) -> None:
    """Raise InputError for a file, slice or folder that was named and does not exist."""
    for source in sources:
        try:
            os.stat(volume_of(source))
        except (FileNotFoundError, NotADirectoryError):
            raise InputError(f"{source}: no such file or folder") from None
        except (OSError, ValueError):
            pass  # a failure with its reason, later


def report_leaks(leaks: Sequence[str], *, allowed: bool) -> None:
    """Raise InputError for leaks; where they are allowed, warn of them."""
    from a2bgan.data.leaks import refuse_leaks

    if not allowed:
        refuse_leaks(leaks)
    for sentence in leaks:
        warn(f"{sentence}; allowed, and what is measured is too good")


def own_or_chosen(
    run: "RunFolder", data: str | None, where: str | None, keep_identifiers: bool = False
) -> "Manifest":
    """The run's own data set, or the one that was given, opened with the run's preprocessing."""
    if data is None:
        refuse_where_without_data(where)
        return run.manifest()
    return open_chosen(data, run.config().data, where, keep_identifiers)


def refuse_where_without_data(where: str | None) -> None:
    """Raise InputError for --where alone."""
    if where:
        raise InputError("--where chooses from --data; the run's own images were chosen before")


def open_chosen(
    data: str, config: "DataConfig", where: str | None = None, keep_identifiers: bool = False
) -> "Manifest":
    """Open a data set, keep the rows with the tags, and split volumes into slices."""
    from a2bgan.data.open_data import open_data
    from a2bgan.data.tag_filter import TagFilter
    from a2bgan.data.volume_rows import count_volumes, expand_volumes

    chosen = TagFilter(where) if where else None
    manifest = open_data(data, keep_identifiers=keep_identifiers)
    if chosen is not None:
        manifest, sentence = chosen.narrow(manifest)
        note(sentence)
    for sentence in manifest.passed_over:
        warn(sentence)
    manifest = expand_volumes(manifest, config)
    volumes, slices = count_volumes(manifest.rows)
    if volumes:
        note(f"{slices} slices of {volumes} volumes ({config.volume_axis})")
    return manifest
