"""`a2bgan translate` and `a2bgan fid`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from a2bgan.cli.console import list_failures, say, say_written, stderr
from a2bgan.cli.data_options import require_sources
from a2bgan.cli.run_options import (
    CheckpointOption,
    FidResizeOption,
    InceptionOption,
    RunArgument,
    feature_network,
    require_place,
)
from a2bgan.errors import InputError


def translate(
    run: RunArgument,
    inputs: Annotated[
        list[Path], typer.Argument(metavar="INPUT...", help="Images, folders or manifests.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.", show_default=False)],
    checkpoint: CheckpointOption = "selected",
) -> None:
    """Write images as they would look in B (the healthy set), at their own size and in their own
    format."""
    from rich.progress import track

    from a2bgan.detection.inputs import find_inputs
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.detection.translate import translate as translate_images
    from a2bgan.report.translated_files import write_translations
    from a2bgan.training.run_folder import RunFolder

    require_sources(inputs)
    found = find_inputs(inputs, results=[out])
    trained = load_trained(RunFolder.open(run), checkpoint)
    translated = translate_images(trained, found)
    shown = track(translated, total=len(found), console=stderr, description="translating")
    written, failures = write_translations(shown, out)
    say_written(out / "translations.csv", f"{written} images translated")
    list_failures(failures, "could not be translated")
    if failures:
        raise typer.Exit(1)


def fid(
    images: Annotated[
        Path, typer.Argument(metavar="DIR|RUN", help="Images, or a run that translates.")
    ],
    reference: Annotated[
        Path, typer.Argument(metavar="REFERENCE", help="Folder of real images.", show_default=False)
    ],
    inception: InceptionOption = None,
    fid_resize: FidResizeOption = None,
    checkpoint: CheckpointOption = "selected",
    out: Annotated[Path | None, typer.Option(help="JSON file to write.")] = None,
) -> None:
    """FID and KID between two sets of images; of a run, its translations of the test images that
    are not labelled normal."""
    from dataclasses import asdict

    from a2bgan.detection.inputs import find_inputs
    from a2bgan.detection.measures.fid import read_batches, set_distances
    from a2bgan.detection.measures.translation_quality import translated_test
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.training.run_folder import RunFolder

    require_sources([images, reference])
    if out is not None:
        require_place(out)
    network = feature_network(inception, fid_resize)
    failures: list[tuple[str, str]] = []
    if RunFolder(images).config_file.is_file():
        folder = RunFolder.open(images)
        trained = load_trained(folder, checkpoint)
        made = translated_test(trained, folder.manifest())
        real = read_batches(find_inputs([reference]), failures, trained.data)
    else:
        made, real = (read_batches(find_inputs([p]), failures) for p in (images, reference))
    found = set_distances(made, real, network)
    list_failures(failures, "left out")
    spread = "unknown" if found.kid_sd is None else f"{found.kid_sd:.5f}"
    say(
        f"FID {found.fid:.4f}, KID {found.kid:.5f} (sd {spread}); {found.images[0]} "
        f"images against {found.images[1]}; {found.features}"
    )
    if out is not None:
        try:
            out.write_text(json.dumps(asdict(found), indent=2) + "\n")
        except OSError as error:
            raise InputError(f"{out}: cannot be written ({error.strerror})") from None
    if failures:
        raise typer.Exit(1)
