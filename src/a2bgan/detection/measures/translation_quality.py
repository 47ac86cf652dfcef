"""Quality of translations: FID and KID to healthy images, and the error against the truth.

The truth, the same picture without what was to be removed, is known for generated sets alone
(column ``twin`` of a manifest), and for test images alone: training never sees a pair.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from a2bgan.data.batches import to_unit_range
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import ImageError
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.preprocessing import load_mask
from a2bgan.detection.detect import detect
from a2bgan.detection.image_sets import load_rows
from a2bgan.detection.measures.fid import FeatureNetwork, set_distances
from a2bgan.detection.measures.localisation import TwinErrors
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError, not_installed
from a2bgan.training.methods.method import Method

DISCRIMINATES = ("discriminator", "critic")


def network_counts(method: Method) -> tuple[int, int, int]:
    """Numbers of generators, of discriminators, and of the parameters of both.

    Averaged copies, frozen networks and memories do not count.
    """
    trained = {
        name: network
        for name, network in method.networks.items()
        if not name.endswith("_ema") and any(p.requires_grad for p in network.parameters())
    }
    discriminators = sum(name.startswith(DISCRIMINATES) for name in trained)
    parameters = sum(p.numel() for network in trained.values() for p in network.parameters())
    return len(trained) - discriminators, discriminators, parameters


def translations(trained: Trained, images: np.ndarray) -> Iterator[Tensor]:
    """The twins of preprocessed images (N, C, H, W), in batches in [-1, 1], on the CPU.

    Raises InputError if the method makes none.
    """
    trained.require_translations()
    for found in detect(trained.method, images, "mean", trained.pick.version):
        assert found.twin is not None
        yield torch.from_numpy(found.twin)


def translated_test(trained: Trained, manifest: Manifest) -> Iterator[Tensor]:
    """Translations of the test images that are not labelled normal. Raises InputError."""
    rows = [row for row in manifest.split("test") if row.label != 0]
    if not rows:
        raise InputError("no test images to translate; all are labelled normal, or there are none")
    return translations(trained, load_rows(rows, trained.data)[0].images)


def measure_translation(
    trained: Trained, manifest: Manifest, network: FeatureNetwork, lpips: Path | None = None
) -> dict[str, Any]:
    """FID and KID between B and the translated test images that are not normal, and errors against
    the truth.

    Returns ``fid``, ``kid``, ``kid_sd``, ``translated`` and ``reference`` (numbers of images),
    ``features`` (the network) and, where test images have twins, what `TwinErrors` gives,
    ``ssim_inside``, ``ssim_inside_input``, ``ssim_outside`` (means of the SSIM map, inside and
    outside of what was to be removed) and, with the weights of its network, ``lpips``.
    Raises InputError.
    """
    data = trained.data
    test = manifest.split("test")
    translated, _ = load_rows([row for row in test if row.label != 0], data)
    reference, _ = load_rows(manifest.split("healthy"), data)
    found = set_distances(
        translations(trained, translated.images),
        torch.split(to_unit_range(reference.images), 256),
        network,
    )
    measured: dict[str, Any] = {
        "fid": found.fid,
        "kid": found.kid,
        "kid_sd": found.kid_sd,
        "translated": found.images[0],
        "reference": found.images[1],
        "features": found.features,
    }
    known = [row for row in test if row.twin is not None]
    if not known:
        return measured
    loaded, rows = load_rows(known, data)
    images, twins = loaded.images, load_rows([twin_of(row) for row in rows], data)[0].images
    if len(twins) != len(rows):
        raise InputError("twins of test images cannot be read; make the set again")
    masks = np.stack(
        [_mask(row, of[:2], data) for row, of in zip(rows, loaded.originals, strict=True)]
    )
    made = (torch.cat([*translations(trained, images)]) + 1) / 2
    before, truth = ((to_unit_range(part) + 1) / 2 for part in (images, twins))
    errors = TwinErrors()
    for parts in zip(before.numpy(), truth.numpy(), made.numpy(), masks, strict=True):
        errors.add(*parts)
    measured |= errors.by_name()
    similar = _similarity(made, truth)
    measured["ssim_inside"] = _mean(similar, masks)
    measured["ssim_inside_input"] = _mean(_similarity(before, truth), masks)
    measured["ssim_outside"] = _mean(similar, ~masks)
    if lpips is not None:
        measured["lpips"] = perceptual_distance(made, truth, load_lpips(lpips))
    return measured


def twin_of(row: Row) -> Row:
    """The row of a row's twin."""
    assert row.twin is not None
    return Row(f"{row.name} (twin)", row.twin, row.split, 0, row.patient_id, None, None)


def load_lpips(path: Path) -> nn.Module:
    """LPIPS (Zhang et al., CVPR 2018) on an AlexNet whose ImageNet weights are at ``path``.

    The weights of the layers on top come with torchmetrics. Raises InputError.
    """
    try:
        from torchmetrics.functional.image.lpips import _LPIPS
    except ImportError:
        raise not_installed("torchmetrics", "fid") from None

    network: nn.Module = _LPIPS(pretrained=True, net="alex", pnet_rand=True)
    try:
        weights = torch.load(path, map_location="cpu", weights_only=True)
        # torchvision names layers features.0, features.3, ...; LPIPS cuts them into slices.
        slices = {
            name.rsplit(".", 2)[-2]: name.rsplit(".", 1)[0]
            for name, _ in network.net.named_parameters()  # type: ignore[union-attr]
        }
        renamed = {
            f"{slices[number]}.{kind}": weights[f"features.{number}.{kind}"]
            for number in slices
            for kind in ("weight", "bias")
        }
        network.net.load_state_dict(renamed)  # type: ignore[union-attr]
    except Exception as error:  # whatever a foreign file provokes
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{path}: not the weights of torchvision's AlexNet ({reason})") from None
    return network.eval()


@torch.no_grad()
def perceptual_distance(made: Tensor, truth: Tensor, network: nn.Module) -> float:
    """Mean LPIPS between images (N, C, H, W) in [0, 1]; 0 for equal ones."""
    first, second = (2 * part.expand(-1, 3, -1, -1) - 1 for part in (made, truth))
    parts = [
        network(a, b).flatten()
        for a, b in zip(torch.split(first, 32), torch.split(second, 32), strict=True)
    ]
    return float(torch.cat(parts).mean())


def _mask(row: Row, like: tuple[int, int], data: DataConfig) -> np.ndarray:
    if row.mask is None:
        return np.zeros((data.size, data.size), dtype=bool)
    try:
        return load_mask(row.mask, data, like)
    except ImageError as error:
        raise InputError(f"{row.mask}: {error}") from None


def _similarity(made: Tensor, truth: Tensor) -> np.ndarray:
    """SSIM maps (N, H, W), the mean over channels."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    _, maps = structural_similarity_index_measure(
        made, truth, data_range=1.0, return_full_image=True
    )
    return np.asarray(maps.mean(dim=1))


def _mean(maps: np.ndarray, where: np.ndarray) -> float | None:
    return float(maps[where].mean(dtype=np.float64)) if where.any() else None
