"""Where a backbone's pretrained weights come from: a file, or what timm has fetched before."""

from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from safetensors.torch import load_file
from torch import Tensor

from a2bgan.errors import InputError
from a2bgan.models.backbone import Backbone

FILE_NAMES = ("model.safetensors", "pytorch_model.bin")
"""Of weights in a repository of timm's on Hugging Face, in timm's order."""


def load_pretrained(backbone: Backbone, path: Path | None) -> None:
    """Give a backbone pretrained weights, without any network access.

    path: a file of a timm (or torchvision) classifier's weights, safetensors or, loaded as plain
    tensors only, .pth, .pt or .bin; None looks into Hugging Face's cache on this machine.

    Raises InputError that names what to fetch if there are none, or why the file cannot be used.
    """
    file = _cached(backbone.repository) if path is None else path
    if file is None:
        fetch = (
            f"fetch {FILE_NAMES[0]} of {backbone.repository} on Hugging Face and give its path"
            if backbone.repository
            else "give the path of their file"
        )
        raise InputError(
            f"{backbone.name}: no pretrained weights on this machine; {fetch}: "
            "--set method.backbone_weights=PATH or method.random_features=true, of `a2bgan "
            "benchmark` --backbone-weights PATH or --random-features"
        )
    weights = _read(file)
    try:
        backbone.load(weights)
    except (RuntimeError, AttributeError, KeyError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:160]
        raise InputError(f"{file}: not the weights of timm's {backbone.name} ({reason})") from None


def _cached(repository: str | None) -> Path | None:
    if repository is None:
        return None
    for name in FILE_NAMES:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str):
            return Path(found)
    return None


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
