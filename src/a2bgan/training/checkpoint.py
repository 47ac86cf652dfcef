"""Checkpoints: weights and optimiser state as safetensors, written whole or not at all."""

import json
import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from a2bgan.data import bounds
from a2bgan.errors import UNREADABLE, InputError
from a2bgan.files.atomic import sync
from a2bgan.training.methods.method import Method

PREFIX = "step-"

STATES_KEPT = 2
"""Older checkpoints keep their weights and lose the optimiser state, which only --resume needs."""


@dataclass(frozen=True, slots=True)
class Position:
    """Progress of a training: steps done and seconds since its start, without interruptions.

    Checkpoints, samples and what is measured at checkpoints take part of them.
    """

    step: int
    seconds: float


def save_checkpoint(folder: Path, method: Method, position: Position) -> Path:
    """Write ``folder/step-NNNNNNNN`` and return it.

    The files are written beside it first and renamed together, so that a full disk or a kill
    leaves earlier checkpoints whole. Raises InputError when the disk is full.
    """
    target = folder / f"{PREFIX}{position.step:08d}"
    temporary = folder / f".{target.name}"
    for half_written in folder.glob(f".{PREFIX}*"):
        shutil.rmtree(half_written, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        for name, network in method.networks.items():
            save_file(_contiguous(network.state_dict()), temporary / f"{name}.safetensors")
        tensors, groups = _optimizer_tensors(method)
        states = {"groups": groups}
        if method.scaler is not None:
            states["scaler"] = method.scaler.state_dict()
        metadata = {name: json.dumps(state) for name, state in states.items()}
        save_file(tensors, temporary / "optimizers.safetensors", metadata)
        progress = {
            "step": position.step,
            "seconds": round(position.seconds, 3),
            "ready": method.ready if method.optimizers else True,  # loaded ones were ready
        }
        (temporary / "progress.json").write_text(json.dumps(progress) + "\n")
        for file in temporary.iterdir():
            sync(file)  # fails now if the disk is full
        shutil.rmtree(target, ignore_errors=True)
        temporary.rename(target)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise InputError(
            f"{target}: checkpoint not written ({reason}); earlier ones are whole: "
            "make room and resume the run"
        ) from error
    for old in list_checkpoints(folder)[:-STATES_KEPT]:
        (old / "optimizers.safetensors").unlink(missing_ok=True)
    return target


def list_checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, the latest last."""
    found = (path for path in folder.glob(f"{PREFIX}*") if (path / "progress.json").is_file())
    return sorted(found, key=lambda path: path.name)


def list_ready_checkpoints(folder: Path) -> list[Path]:
    """Checkpoints that can find anything: all but those of a warm-up, if there are others."""
    checkpoints = list_checkpoints(folder)
    ready = [path for path in checkpoints if _read_progress(path).get("ready", True)]
    return ready or checkpoints


def find_checkpoint(folder: Path, name: str = "last") -> Path:
    """A checkpoint by name (``last``, ``step-00000500`` or ``500``). Raises InputError."""
    checkpoints = list_checkpoints(folder)
    if not checkpoints:
        raise InputError(f"{folder}: no checkpoint yet; train first")
    if name == "last":
        return checkpoints[-1]
    wanted = f"{PREFIX}{int(name):08d}" if name.isdigit() else name
    for checkpoint in checkpoints:
        if checkpoint.name == wanted:
            return checkpoint
    names = ", ".join(path.name for path in checkpoints)
    raise InputError(f"{folder}: no checkpoint {name!r}; there are: {names}")


def read_position(checkpoint: Path) -> Position:
    progress = _read_progress(checkpoint)
    return Position(progress["step"], progress["seconds"])


def _read_progress(checkpoint: Path) -> dict[str, Any]:
    file = checkpoint / "progress.json"
    try:
        progress = json.loads(file.read_text())
        step, seconds = int(progress["step"]), float(progress["seconds"])
        if not (0 <= step <= bounds.STEPS and 0 <= seconds < math.inf):
            raise ValueError
        return {"step": step, "seconds": seconds, "ready": bool(progress.get("ready", True))}
    except (OSError, *UNREADABLE):
        raise InputError(
            f"{file}: damaged; remove the folder, and the run goes on from the checkpoint before"
        ) from None


def load_weights(checkpoint: Path, method: Method) -> None:
    """Put a checkpoint's weights into the networks. Raises InputError if they don't fit."""
    for name, network in method.networks.items():
        file = checkpoint / f"{name}.safetensors"
        try:
            network.load_state_dict(load_file(file))
        except (OSError, SafetensorError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{file}: weights cannot be loaded ({reason})") from None


def load_optimizers(checkpoint: Path, method: Method) -> None:
    """Put a checkpoint's optimiser state back, and the scale of losses if it holds one.

    The method must have been prepared.
    """
    file = checkpoint / "optimizers.safetensors"
    states: dict[str, dict[int, dict[str, Tensor]]] = {name: {} for name in method.optimizers}
    try:
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata()
            groups = json.loads(metadata["groups"])
            for key in opened.keys():  # noqa: SIM118 (not a dictionary)
                name, parameter, field = key.split("/")
                states[name].setdefault(int(parameter), {})[field] = opened.get_tensor(key)
        for name, optimizer in method.optimizers.items():
            # Files hold plain order; fused optimisers need the memory layout of the parameters.
            parameters = [p for group in optimizer.param_groups for p in group["params"]]
            for number, fields in states[name].items():
                like = parameters[number]
                for field, tensor in fields.items():
                    if tensor.shape == like.shape:
                        fields[field] = torch.empty_like(like).copy_(tensor)
            optimizer.load_state_dict({"state": states[name], "param_groups": groups[name]})
        if method.scaler is not None and "scaler" in metadata:  # older checkpoints are without
            method.scaler.load_state_dict(json.loads(metadata["scaler"]))
    except (OSError, SafetensorError, IndexError, RuntimeError, *UNREADABLE) as error:
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{file}: optimiser state cannot be loaded ({reason})") from None


def _optimizer_tensors(method: Method) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, groups = {}, {}
    for name, optimizer in method.optimizers.items():
        state = optimizer.state_dict()
        groups[name] = state["param_groups"]
        for parameter, fields in state["state"].items():
            for field, tensor in fields.items():
                tensors[f"{name}/{parameter}/{field}"] = tensor
    return _contiguous(tensors), groups


def _contiguous(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
