"""A trained method, loaded from a run folder."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator

from a2bgan.data.config import DataConfig
from a2bgan.detection.detect import detect_batches
from a2bgan.detection.detection import Detection, batch_size_for, in_batches
from a2bgan.detection.pick import Pick
from a2bgan.detection.scores import check_score
from a2bgan.errors import UNREADABLE, InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.training.checkpoint import find_checkpoint, load_weights
from a2bgan.training.config import Config
from a2bgan.training.methods.method import Method
from a2bgan.training.run_folder import RunFolder

SELECTED = "selected"

WEIGHTS = "weights_sha256"
"""Key of the selected weights' digest in ``selection.json``."""


_Share = Annotated[float, Field(ge=0, le=1)]


class _Noted(BaseModel):
    """Values that are looked up in ``selection.json``, with their kinds and ranges."""

    pick: dict[str, str | None]
    aucp: _Share = 0
    auroc: _Share = 0
    standard_error: Annotated[float, Field(ge=0, le=1)] | None = None
    diseased_share: _Share = 0
    diseased_share_ci: tuple[_Share, _Share] = (0, 1)
    fid: float = Field(0, ge=-1e9, le=1e9)
    features: str = ""
    doubts: list[str] = []
    weights_sha256: str | None = None

    @model_validator(mode="after")
    def _has_what_belongs_together(self) -> Self:
        for one, other in (("diseased_share", "diseased_share_ci"), ("fid", "features")):
            if (one in self.model_fields_set) != (other in self.model_fields_set):
                raise ValueError(f"{one} without {other}")
        return self


@dataclass(frozen=True, slots=True)
class Trained:
    """A method with the weights of one checkpoint, and its configuration.

    half: compute in bfloat16, see `detect`.
    weights_sha256: digest of the checkpoint's networks; "" for weights that came from no file.
    """

    method: Method
    config: Config
    pick: Pick
    half: bool = False
    weights_sha256: str = ""

    @property
    def data(self) -> DataConfig:
        """Preprocessing of images."""
        return self.config.data

    @property
    def makes_map(self) -> bool:
        """True for models that make maps."""
        return self.method.facts.makes_map

    @property
    def map_scale(self) -> float:
        """Map value that pictures paint in the brightest colour."""
        return self.method.map_scale

    @property
    def batch_size(self) -> int:
        """Best number of images to look at together."""
        return batch_size_for(self.method.device.type, self.data.size)

    @property
    def fingerprint(self) -> str:
        """See `a2bgan.detection.predict.Model`."""
        return f"{self.weights_sha256}, {'bfloat16' if self.half else 'float32'}"

    def require_translations(self) -> None:
        """Raise InputError if the method makes no healthy twins."""
        if not (facts := self.method.facts).makes_twin:
            raise InputError(f"{facts.title} translates nothing; see `a2bgan methods`")

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        """Detect with the picked score and weights; see `a2bgan.detection.predict.Model`."""
        score, version = self.pick.score, self.pick.version
        return detect_batches(self.method, batches, score, version, half=self.half)

    def detect_images(self, images: np.ndarray) -> Iterator[Detection]:
        """`detect` of preprocessed images (N, C, H, W), in batches of the best size."""
        return self.detect(in_batches(images, self.batch_size))

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Scores (N,) float64 of preprocessed images (N, C, H, W), higher is less healthy."""
        parts = [found.scores for found in self.detect_images(images)]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)


def load_trained(
    run: RunFolder,
    checkpoint: str = SELECTED,
    score: str | None = None,
    accelerator: str = "auto",
) -> Trained:
    """Load a run's method onto an accelerator, see `device_named`. Raises InputError.

    checkpoint: "selected" for the run's own selection (the last checkpoint where nothing was
        selected), "last", or a checkpoint's step or name.
    score: in place of the selected one, or of the method's default where nothing was selected.
    """
    if checkpoint != SELECTED:
        pick, expected = default_pick(run, checkpoint), None
    else:
        pick, expected = pick_of(run), (read_selection(run) or {}).get(WEIGHTS)
    if score is not None:
        check_score(score, run.config().facts)
        pick = replace(pick, score=score)
    return load_pick(run, pick, expected, accelerator)


def load_pick(
    run: RunFolder, pick: Pick, expected_sha256: str | None = None, accelerator: str = "auto"
) -> Trained:
    """Load what was picked. Raises InputError, also where the weights are not the expected ones."""
    checkpoint = find_checkpoint(run.checkpoints, pick.checkpoint)
    digest = weights_sha256(checkpoint)
    if expected_sha256 not in (None, digest):
        raise InputError(
            f"{checkpoint}: not the weights that were selected and calibrated; put those back, or "
            "run `a2bgan select` and `a2bgan calibrate`"
        )
    config = run.config()
    method = config.build_method()
    load_weights(checkpoint, method)
    for network in method.networks.values():
        network.eval()  # for good: several threads may use it at once
    return Trained(on_device(method, accelerator), config, pick, weights_sha256=digest)


def pick_of(run: RunFolder) -> Pick:
    """The selected pick, or the default one of the last checkpoint. Raises InputError."""
    return read_pick(run) or default_pick(run)


def default_pick(run: RunFolder, name: str = "last") -> Pick:
    """A checkpoint's first weights with the method's default score. Raises InputError.

    name: see `find_checkpoint`.
    """
    checkpoint, method = find_checkpoint(run.checkpoints, name), run.config().build_method()
    load_weights(checkpoint, method)  # the default score may depend on them
    rule = "last" if name == "last" else "named"
    return Pick(checkpoint.name, method.versions[0], method.default_score, rule)


def on_device(method: Method, accelerator: str = "auto") -> Method:
    """Move a method to an accelerator, see `device_named`."""
    device = device_named(accelerator)
    for network in method.networks.values():
        network.to(device)
    return method


def device_named(accelerator: str) -> torch.device:
    """A device: "auto" takes the machine's accelerator (CUDA, MPS, XPU) or else the CPU; "gpu" any
    accelerator; otherwise a device's name, such as "cpu" or "cuda:1". Raises InputError."""
    there = torch.accelerator.current_accelerator(check_available=True)
    if accelerator == "auto":
        return there or torch.device("cpu")
    if accelerator == "gpu" and there is not None:
        return there
    with suppress(RuntimeError):
        device = torch.device(accelerator)
        if device.type == "cpu" or (there is not None and device.type == there.type):
            return device
    known = "cpu" if there is None else f"cpu, {there.type}"
    raise InputError(f"accelerator {accelerator!r}: this machine has {known}")


def read_pick(run: RunFolder) -> Pick | None:
    """The selected pick of a run; None where nothing was selected."""
    selection = read_selection(run)
    return None if selection is None else Pick.from_dict(selection["pick"])


def read_selection(run: RunFolder) -> dict[str, Any] | None:
    """All of ``selection.json``; None where there is none. Raises InputError if it is damaged."""
    try:
        selection: dict[str, Any] = json.loads(run.selection_file.read_text())
        _Noted.model_validate(selection)
        Pick.from_dict(selection["pick"])
    except FileNotFoundError:
        return None
    except (OSError, *UNREADABLE):
        raise InputError(
            f"{run.selection_file}: not readable; `a2bgan select` makes it anew"
        ) from None
    return selection


def read_details(run: RunFolder) -> dict[str, Any]:
    """The parts of ``selection.json`` beside the pick and its weights; empty where there is none.

    Raises InputError if it is damaged.
    """
    found = read_selection(run) or {}
    return {key: value for key, value in found.items() if key not in ("pick", WEIGHTS)}


def write_selection(run: RunFolder, pick: Pick, **details: Any) -> None:
    """Write ``selection.json``, whole or as it was: the pick and whatever else is known of it."""
    found = {"pick": asdict(pick), WEIGHTS: weights_sha256(run.checkpoints / pick.checkpoint)}
    text = json.dumps({**found, **details}, indent=2)
    write_atomically(run.selection_file, text + "\n")


def weights_sha256(checkpoint: Path) -> str:
    """Digest of a checkpoint's networks, by name and content."""
    digest = hashlib.sha256()
    for file in sorted(checkpoint.glob("*.safetensors")):
        if file.stem != "optimizers":
            digest.update(file.name.encode())
            with file.open("rb") as content:
                digest.update(hashlib.file_digest(content, "sha256").digest())
    return digest.hexdigest()
