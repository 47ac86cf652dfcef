"""The network whose features FID and KID compare, as the options say."""

from pathlib import Path
from typing import TYPE_CHECKING

from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.detection.fid import FeatureNetwork


def feature_network(
    inception: Path | None, random_features: bool, *, offer_random: bool = True
) -> "FeatureNetwork":
    """Inception, or random features where they are asked for. Raises InputError.

    offer_random: whether it is said that --random-features does without the weights.
    """
    from a2bgan.detection.fid import Inception, RandomFeatures

    if random_features:
        if inception is not None:
            raise InputError("give either --inception or --random-features")
        return RandomFeatures()
    try:
        return Inception(inception)
    except InputError as error:
        if inception is not None or not offer_random:
            raise
        raise InputError(f"{error}; or --random-features, which results then say") from None
