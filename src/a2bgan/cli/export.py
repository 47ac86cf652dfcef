"""`a2bgan export`."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import list_failures, say, say_written, warn
from a2bgan.cli.run_options import CheckpointOption, RunArgument
from a2bgan.errors import InputError

if TYPE_CHECKING:
    import numpy as np

    from a2bgan.detection.trained_model import Trained
    from a2bgan.training.run_folder import RunFolder

CHECKED = 64
"""Images that a file is checked on, at most."""


class Form(StrEnum):
    """Kinds of exported files."""

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH = "torch"


def export(
    run: RunArgument,
    form: Annotated[
        Form,
        typer.Option(
            "--format", help="openvino writes two files, .xml and .bin; torch a torch.export .pt2."
        ),
    ] = Form.ONNX,
    out: Annotated[
        Path | None,
        typer.Option(help="File to write.", show_default="RUN/model.onnx, .xml or .pt2"),
    ] = None,
    score: Annotated[
        str | None, typer.Option(help="The image score; by default the selected one.")
    ] = None,
    checkpoint: CheckpointOption = "selected",
    data: Annotated[
        list[Path] | None,
        typer.Option(help="Images or folders to check on; by default the run's held-out images."),
    ] = None,
) -> None:
    """Write what a run learned as one file: network, preprocessing, score and threshold."""
    from a2bgan.detection.decisions.calibration import usable_calibration
    from a2bgan.detection.export import ENDINGS
    from a2bgan.detection.export import export as write
    from a2bgan.detection.trained_model import load_trained
    from a2bgan.training.run_folder import RunFolder

    folder = RunFolder.open(run)
    trained = load_trained(folder, checkpoint, score)
    calibration = usable_calibration(folder, trained.pick)
    if calibration is None:
        warn(
            "the run has none for this score and checkpoint; `a2bgan calibrate` sets one",
            "no threshold in the file",
        )
    target = run / f"model{ENDINGS[form.value]}" if out is None else out
    found = write(trained, calibration, _images(folder, trained, data), form.value, target)
    maps = "" if found.map is None else f", maps by {found.map:.1e}"
    say(
        f"checked on {found.images} images: scores differ from PyTorch's by at most "
        f"{found.score:.1e} of the largest{maps}"
    )
    second = f" and {target.with_suffix('.bin').name}" if form is Form.OPENVINO else ""
    say_written(f"{target}{second}")


def _images(run: "RunFolder", trained: "Trained", data: list[Path] | None) -> "np.ndarray":
    """Preprocessed images (N, C, H, W) to check on, N from 2 to `CHECKED`."""
    import numpy as np

    from a2bgan.data.formats.picture import ImageError
    from a2bgan.data.holdout import Part
    from a2bgan.data.preprocessing import load_image
    from a2bgan.detection.image_sets import RunImages
    from a2bgan.detection.inputs import find_inputs

    if data is None:
        held_out = RunImages.of_run(run)
        parts: tuple[Part, ...] = ("calibration", "selection", "training")
        for part in parts:
            both = [held_out.part(s, part, CHECKED // 2).images for s in ("healthy", "mixed")]
            images = np.concatenate(both)
            if len(images) >= 2:
                # With volumes, all their slices are loaded.
                few = np.linspace(0, len(images) - 1, min(len(images), CHECKED))
                chosen: np.ndarray = images[few.astype(int)]
                return chosen
    else:
        readable, failures = [], []
        for item in find_inputs(data)[:CHECKED]:
            try:
                readable.append(load_image(item.path, trained.data))
            except ImageError as error:
                failures.append((item.name, str(error)))
        list_failures(failures, "left out")
        if len(readable) >= 2:
            return np.stack(readable)
    raise InputError("an exported file is checked on 2 images or more; give them with --data")
