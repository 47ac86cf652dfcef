"""Options of commands that open runs: which run, and what of it."""

from pathlib import Path
from typing import Annotated

import typer

RunArgument = Annotated[Path, typer.Argument(metavar="RUN", help="Run folder of `train`.")]
CheckpointOption = Annotated[str, typer.Option(help="selected, last, or a checkpoint's step.")]
ScoreOption = Annotated[
    str | None,
    typer.Option(
        help="The image score: mean, smooth-max, top-k or mask-weighted of the map, or one of the "
        "method's own; by default the selected one."
    ),
]
SplitOption = Annotated[str, typer.Option(help="Split of the manifest.")]
