"""Options that several commands on runs share."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from a2bgan.cli.console import say_next
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.detection.measures.fid import FeatureNetwork

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `train`.")]
ModelArgument = Annotated[
    Path,
    typer.Argument(metavar="RUN", help="Run folder of `train`, or a file of `a2bgan export`."),
]
RateOption = Annotated[
    float, typer.Option(min=0.001, max=0.5, help="Rate of healthy patients to be flagged.")
]


class Runtime(StrEnum):
    """Runtimes that run a network."""

    TORCH = "torch"
    ONNX = "onnx"
    OPENVINO = "openvino"


RuntimeOption = Annotated[
    Runtime | None,
    typer.Option(help="What runs the network; the others use RUN/model.onnx or RUN/model.xml."),
]
HalfOption = Annotated[
    bool,
    typer.Option(
        "--half", help="bfloat16: faster where hardware has it; scores shift a bit. Not with onnx."
    ),
]
DataOption = Annotated[
    str | None, typer.Option(help="Manifest, folder or 'phantom'; by default the run's own.")
]
CheckpointOption = Annotated[str, typer.Option(help="selected, last, or a checkpoint's step.")]
ScoreOption = Annotated[
    str | None,
    typer.Option(
        help="The image score: mean, smooth-max, top-k or mask-weighted of the map, or one of the "
        "method's own; by default the selected one."
    ),
]
SplitOption = Annotated[str, typer.Option(help="Split of the manifest.")]
VmaxOption = Annotated[
    float | None,
    typer.Option(
        help="Top of the map's scale in pictures.", show_default="0.3 of the range, for differences"
    ),
]
InceptionOption = Annotated[
    Path | None,
    typer.Option(
        help="Weights of Inception, for FID (and KID) as papers give it; by default the features "
        "are EfficientNet-Lite0's."
    ),
]


class FidResize(StrEnum):
    """Ways to bring images to Inception's size."""

    CLEAN = "clean"
    PYTORCH_FID = "pytorch-fid"


FidResizeOption = Annotated[
    FidResize | None,
    typer.Option(
        help="With --inception: clean (the default), with antialiasing; pytorch-fid, without, as "
        "the paper and most others."
    ),
]


def feature_network(inception: Path | None, resize: FidResize | None = None) -> "FeatureNetwork":
    """Inception with the given weights, or EfficientNet-Lite0. Raises InputError."""
    from a2bgan.detection.measures.fid import EfficientNet, Inception

    if inception is None:
        if resize is not None:
            raise InputError("--fid-resize goes with --inception")
        return EfficientNet()
    return Inception(inception, (resize or FidResize.CLEAN).value)


def say_next_report(run: Path) -> None:
    """Print the command that reports on a run, or on the first of repeated ones; nothing where it
    was trained on arrays, which a report could not show."""
    from a2bgan.training.run_folder import RunFolder

    first = RunFolder.open_all(run)[0]
    if first.manifest_source_file.exists():
        say_next("report", first.path)


def require_place(out: Path) -> None:
    """Raise InputError, before minutes are spent, where ``out`` is a folder or its folder is
    missing."""
    if out.is_dir():
        raise InputError(f"{out}: cannot be written (a folder); give --out a file in it")
    if not out.parent.is_dir():
        raise InputError(
            f"{out}: cannot be written (no folder {out.parent}); make it, or choose another --out"
        )
