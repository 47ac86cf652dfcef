"""Options of commands that open images: which of them, and what patients are called."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import errors

if TYPE_CHECKING:
    from a2bgan.data.manifest import Manifest

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


def open_chosen(data: str, where: str | None, keep_identifiers: bool) -> "Manifest":
    """Open a data set and keep the rows with the tags; says how many."""
    from a2bgan.data.manifest import open_data
    from a2bgan.data.tag_filter import TagFilter

    if not where:
        return open_data(data, keep_identifiers=keep_identifiers)
    chosen = TagFilter(where)
    manifest = open_data(data, keep_identifiers=keep_identifiers)
    rows, sentence = chosen.keep(manifest.rows, lambda row: row.path)
    errors.print(sentence, soft_wrap=True, markup=False, highlight=False)
    return replace(manifest, rows=tuple(rows), where=where)
