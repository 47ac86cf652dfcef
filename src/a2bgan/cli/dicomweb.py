"""`a2bgan dicomweb`: images from an archive, and results to it, over DICOMweb."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import counting, list_failures, note, say_written
from a2bgan.errors import InputError, not_installed

if TYPE_CHECKING:
    from dicomweb_client import DICOMwebClient

    from a2bgan.serving.dicom_web import Limits

app = typer.Typer(
    help="Images from an archive, and results to it, over DICOMweb. Credentials come from "
    "A2BGAN_DICOMWEB_USER and A2BGAN_DICOMWEB_PASSWORD, from A2BGAN_DICOMWEB_TOKEN, or from "
    "~/.netrc.",
    no_args_is_help=True,
)

UrlArgument = Annotated[
    str, typer.Argument(metavar="URL", help="As in https://archive.example.org/dicom-web")
]
MibOption = Annotated[int, typer.Option("--mib", min=1, help="Size of one object, in MiB.")]
TimeoutOption = Annotated[float, typer.Option(min=1, help="Seconds that a server may say nothing.")]


@app.command()
def fetch(
    url: UrlArgument,
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for the images; its owner alone can read it.", show_default=False
        ),
    ],
    study: Annotated[
        list[str] | None, typer.Option(help="Study Instance UID; may be repeated.")
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option(help="Series Instance UID; may be repeated.")
    ] = None,
    query: Annotated[
        list[str] | None,
        typer.Option(
            help="KEYWORD=VALUE that series must have, as in Modality=DX or "
            "StudyDate=20260101-20260131; may be repeated."
        ),
    ] = None,
    images: Annotated[int, typer.Option(min=1, help="Images at most.")] = 10_000,
    mib: MibOption = 256,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Fetch images with all their identifiers; the same command goes on with one that stopped."""
    if not (study or series or query):
        raise InputError("which images? give --study, --series or --query")
    filters = {}
    for text in query or ():
        keyword, sign, value = text.partition("=")
        if not sign or not value or not keyword.isalnum():
            raise InputError(f"--query {text}: give KEYWORD=VALUE, as in Modality=DX")
        filters[keyword] = value
    for option, uids in (("--study", study), ("--series", series)):
        for uid in uids or ():
            if len(uid) > 64 or not uid.replace(".", "").isdigit():
                raise InputError(f"{option} {uid}: not a UID; give digits and dots")
    client, limits = _connect(url, images, mib, timeout)
    from a2bgan.serving.dicom_web import fetch as fetch_images
    from a2bgan.serving.dicom_web import find_images

    found, others = find_images(
        client, limits, studies=study or (), series=series or (), query=filters
    )
    with counting("fetching", len(found)) as watch:
        result = fetch_images(client, found, out, watch)
    say_written(out, f"{result.done} images fetched, {result.before} there before")
    if others:
        note(f"{others} objects without an image (reports, segmentations) were left out")
    list_failures(result.failures, "could not be fetched")
    if result.failures:
        raise typer.Exit(1)


@app.command()
def store(
    url: UrlArgument,
    folder: Annotated[Path, typer.Argument(help="Folder of `predict --dicom-out`.")],
    mib: MibOption = 256,
    timeout: TimeoutOption = 30.0,
) -> None:
    """Send the DICOM files of a folder; the same command goes on with one that stopped."""
    client, limits = _connect(url, 1, mib, timeout)
    from a2bgan.serving.dicom_web import files_below
    from a2bgan.serving.dicom_web import store as store_files

    with counting("storing", len(files_below(folder))) as watch:
        result = store_files(client, folder, limits, watch)
    say_written(url, f"{result.done} results stored, {result.before} there before")
    list_failures(result.failures, "could not be stored")
    if result.failures:
        raise typer.Exit(1)


def _connect(url: str, images: int, mib: int, timeout: float) -> "tuple[DICOMwebClient, Limits]":
    try:
        from a2bgan.serving.dicom_web import Limits, connect
    except ModuleNotFoundError as error:
        if error.name not in ("dicomweb_client", "requests", "urllib3"):
            raise
        raise not_installed(error.name, "dicomweb") from None
    limits = Limits(images=images, object_bytes=mib * 2**20, seconds=timeout)
    return connect(url, limits), limits
