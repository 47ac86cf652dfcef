"""The network whose features FID and KID compare, as the options say."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from a2bgan.detection.fid import FeatureNetwork

InceptionOption = Annotated[
    Path | None,
    typer.Option(
        help="Weights of Inception, for FID (and KID) as papers give it; by default the features "
        "are EfficientNet-Lite0's."
    ),
]


def feature_network(inception: Path | None) -> "FeatureNetwork":
    """Inception with the weights that are given, or EfficientNet-Lite0. Raises InputError."""
    from a2bgan.detection.fid import EfficientNet, Inception

    return EfficientNet() if inception is None else Inception(inception)
