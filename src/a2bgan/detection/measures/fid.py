"""Frechet inception distance between translated mixed images and healthy ones: the paper's pick.

The paper takes the checkpoint whose translations of A come closest to B in the features of an
Inception network (its section 4). That network's weights are a file to be given; without it the
features are those of EfficientNet-Lite0, which is installed.
"""

import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from a2bgan.data.batches import to_unit_range
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.reading import read_image
from a2bgan.data.preprocessing import load_image
from a2bgan.detection.detection import in_batches
from a2bgan.detection.inputs import Input
from a2bgan.errors import InputError, not_installed
from a2bgan.models.backbone import Backbone
from a2bgan.models.pretrained import DEFAULT_BACKBONE, load_pretrained
from a2bgan.training.methods.method import Method

Resizing = Literal["clean", "pytorch-fid"]

INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth"

BATCH_SIZE = 32

FEWEST_IMAGES = 2
"""Fewest images of each set; the spread of one is not known."""


def _torchmetrics() -> Any:
    """The package, which few need and which takes a while. Raises InputError without it."""
    try:
        import torchmetrics.image.fid
        import torchmetrics.image.kid
    except ImportError:
        raise not_installed("torchmetrics", "fid") from None
    return torchmetrics


class FeatureNetwork(nn.Module):
    """Features (N, num_features) of images (N, C, H, W) in [-1, 1].

    label: names the network, in results. side: pixels a side that it looks at.
    """

    num_features: int
    label: str
    side: int

    def resized(self, x: Tensor) -> Tensor:
        """Images of any size at the network's, as in "clean" FID (Parmar et al., CVPR 2022):
        bicubic, with antialiasing, and only then rounded to 8 bits."""
        if x.shape[-2:] != (self.side, self.side):
            x = functional.interpolate(x, (self.side, self.side), mode="bicubic", antialias=True)
        return x.clamp(-1, 1)


class EfficientNet(FeatureNetwork):
    """The last 320 features of EfficientNet-Lite0, averaged over the image: the default.

    Its ImageNet weights are installed with this package. Distances compare with each other and not
    with published ones, which are Inception's.
    """

    num_features = 320
    label = "EfficientNet-Lite0, 320 features"
    side = 224

    def __init__(self) -> None:
        super().__init__()
        self.backbone = Backbone(DEFAULT_BACKBONE, (32,), self.side)
        load_pretrained(self.backbone, None)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        (features,) = self.backbone(x)
        pooled: Tensor = features.mean(dim=(2, 3))
        return pooled


class Inception(FeatureNetwork):
    """The 2048 features of torch-fidelity's port of the original Inception v3, for comparison with
    published distances.

    resizing: ``clean``, as `FeatureNetwork.resized`; ``pytorch-fid``, as in that package (Seitzer
        2020), which the paper used: 8 bits first, then bilinear without antialiasing, to [-1, 1].

    Raises InputError in one line where the weights are not at ``path``.
    """

    num_features = 2048
    side = 299

    def __init__(self, path: Path, resizing: Resizing = "clean") -> None:
        super().__init__()
        self.resizing = resizing
        self.label = f"Inception v3, resized as {resizing}{' FID' * (resizing == 'clean')} does"
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
        except ImportError:
            raise not_installed("torch-fidelity", "fid") from None

        if not path.is_file():
            raise InputError(
                f"{path}: no such file; fetch {INCEPTION_FILE} (torch-fidelity v0.2.0) and give "
                "its path, or leave out --inception"
            )
        try:
            # The library would run code from the file; one that holds tensors alone has none.
            torch.load(path, weights_only=True)
            self.network = FeatureExtractorInceptionV3("inception", ["2048"], str(path))
        except Exception as error:  # whatever a foreign file provokes
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: not the weights of Inception v3 ({reason})") from None
        if resizing == "pytorch-fid":
            # The network resizes in its own way and only takes 8 bits; this goes in behind that.
            self.network.Conv2d_1a_3x3.register_forward_pre_hook(lambda *_: (self._seen,))

    def resized(self, x: Tensor) -> Tensor:
        return super().resized(x) if self.resizing == "clean" else x

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        x = self.resized(x)
        pixels = x.add(1).mul(127.5).round().clamp(0, 255).byte().expand(-1, 3, -1, -1)
        if self.resizing == "pytorch-fid":
            size = (self.side, self.side)
            self._seen = functional.interpolate(pixels / 255, size, mode="bilinear") * 2 - 1
        features: Tensor = self.network(pixels)[0]
        return features


class HealthyFeatures:
    """Features of healthy images, for FIDs of several methods against them.

    Args:
        healthy: preprocessed images (N, C, H, W), two at least.
        device: where the network and the methods are.
    """

    def __init__(self, healthy: np.ndarray, network: FeatureNetwork, device: torch.device) -> None:
        self._metric = _torchmetrics().image.fid.FrechetInceptionDistance(
            feature=network, reset_real_features=False
        )
        self._metric.to(device)
        for x in _batches(healthy, device):
            self._metric.update(x, real=True)

    def distance(self, method: Method, mixed: np.ndarray, version: str | None = None) -> float:
        """FID between the translations of mixed images (N, C, H, W), N > 1, and the healthy ones.

        ``version`` is one of the method's, by default its best.
        """
        self._metric.reset()  # of the translations before these
        for x in _batches(mixed, method.device):
            twin = method.find(x, version).twin
            assert twin is not None
            self._metric.update(twin, real=False)
        return float(self._metric.compute())


def _batches(images: np.ndarray, device: torch.device) -> Iterator[Tensor]:
    for batch in in_batches(images, BATCH_SIZE):
        yield to_unit_range(batch).to(device)


@dataclass(frozen=True, slots=True)
class SetDistances:
    """Distances between two sets of images in the features of a network.

    fid: Heusel 2017; biased upwards for few images. kid: Binkowski 2018, unbiased: mean and
    standard deviation over subsets. Where these are halves of the smaller set, the deviation is
    about the standard error of the mean; None for fewer than four images. images: of each set.
    features: the network's name, and how images were resized for it.
    """

    fid: float
    kid: float
    kid_sd: float | None
    images: tuple[int, int]
    features: str


KID_SUBSETS, KID_SUBSET_SIZE = 100, 1000
"""Subsets, and images of each at most: half of the smaller set, so that subsets differ."""


def require_enough(*counts: int) -> None:
    """Raise InputError where one of the sets has too few images for FID."""
    if min(counts) < FEWEST_IMAGES:
        raise InputError(f"FID needs {FEWEST_IMAGES} images in each set; got {counts}")


def set_distances(
    found: Iterable[Tensor], real: Iterable[Tensor], network: FeatureNetwork
) -> SetDistances:
    """FID and KID between two sets, given as batches (N, C, H, W) in [-1, 1] of any sizes.

    Images are resized as the network wants them. Raises InputError for fewer than two images in a
    set.
    """
    features = [
        torch.cat([torch.empty(0, network.num_features), *_features(batches, network)])
        for batches in (found, real)
    ]
    counts = len(features[0]), len(features[1])
    require_enough(*counts)
    known = _Known(network.num_features)
    metrics = _torchmetrics().image
    fid = metrics.fid.FrechetInceptionDistance(feature=known)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it keeps features, which are here anyway
        kid = metrics.kid.KernelInceptionDistance(
            feature=known,
            subsets=KID_SUBSETS,
            subset_size=min(KID_SUBSET_SIZE, max(min(counts) // 2, FEWEST_IMAGES)),
        )
    for part, is_real in zip(features, (False, True), strict=True):
        fid.update(part, real=is_real)
        kid.update(part, real=is_real)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of KID's subsets
        mean, deviation = kid.compute()
    spread = float(deviation) if min(counts) >= 2 * FEWEST_IMAGES else None
    return SetDistances(float(fid.compute()), float(mean), spread, counts, network.label)


def read_batches(
    inputs: Sequence[Input], failures: list[tuple[str, str]], data: DataConfig | None = None
) -> Iterator[Tensor]:
    """Image files, one by one, as (1, 3, H, W) in [-1, 1] at their own size.

    data: preprocess them so instead, in a run's channels and size. Files that cannot be read are
    added to ``failures``.
    """
    for item in inputs:
        try:
            if data is not None:
                yield to_unit_range(load_image(item.path, data)[None])
                continue
            values = read_image(item.path, DataConfig().max_pixels)
        except ImageError as error:
            failures.append((item.name, str(error)))
            continue
        if values.dtype == np.float32:
            low, high = values.min(), values.max()
            x = torch.from_numpy((values - low) / (high - low)).mul(2).sub(1)
        else:
            x = to_unit_range(values)
        x = x[..., None].expand(-1, -1, 3) if x.ndim == 2 else x
        yield x.permute(2, 0, 1)[None]


class _Known(nn.Module):
    """Stands in for the network that torchmetrics wants, so that features are computed once."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _features(batches: Iterable[Tensor], network: FeatureNetwork) -> Iterable[Tensor]:
    for batch in batches:
        for x in torch.split(batch, BATCH_SIZE):
            yield network(network.resized(x)).float().cpu()
