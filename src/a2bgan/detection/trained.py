"""A trained method, out of a run folder."""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import torch
from pydantic import BaseModel, Field, model_validator

from a2bgan.data.config import DataConfig
from a2bgan.detection.detect import Detection, batch_size_for, detect_batches, in_batches
from a2bgan.detection.patient_scores import DEFAULT_RULE
from a2bgan.detection.scores import check_score
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically
from a2bgan.training.checkpoint import UNREADABLE, find_checkpoint, load_weights
from a2bgan.training.config import Config
from a2bgan.training.methods.method import Method
from a2bgan.training.run_folder import RunFolder

SELECTED = "selected"

WEIGHTS = "weights_sha256"
"""Where ``selection.json`` says which weights were selected."""


@dataclass(frozen=True, slots=True)
class Pick:
    """What a run stands for: a checkpoint's name, a version of its weights, a score.

    rule: by what it was picked, see `a2bgan.detection.selection`.
    patients: how images of a patient become one score, see `a2bgan.detection.patient_scores`.
    map_score: the best score of the map that is shown beside; None where it is not known.
    """

    checkpoint: str
    version: str
    score: str
    rule: str
    patients: str = DEFAULT_RULE
    map_score: str | None = None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Pick":
        """The reverse of `asdict`, as read from JSON. Raises TypeError."""
        if not all(isinstance(value, str | None) for value in values.values()):
            raise TypeError("a pick is texts")
        return cls(**values)


_Share = Annotated[float, Field(ge=0, le=1)]


class _Noted(BaseModel):
    """What is looked up in ``selection.json``; what is there is of these kinds and ranges."""

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
    """A method with the weights of one checkpoint, and how it was configured.

    half: judge in bfloat16, see `detect`.
    """

    method: Method
    config: Config
    pick: Pick
    half: bool = False

    @property
    def data(self) -> DataConfig:
        """How images are preprocessed."""
        return self.config.data

    @property
    def makes_map(self) -> bool:
        """Whether there are maps."""
        return self.method.facts.makes_map

    @property
    def map_scale(self) -> float:
        """Map value that pictures paint in the brightest colour."""
        return self.method.map_scale

    @property
    def batch_size(self) -> int:
        """Images that are best judged together."""
        return batch_size_for(self.method.device.type, self.data.size)

    @property
    def fingerprint(self) -> str:
        """See `a2bgan.detection.prediction.Model`."""
        digest = hashlib.sha256()
        for name, network in self.method.networks.items():
            for key, value in network.state_dict().items():
                digest.update(f"{name} {key} {tuple(value.shape)}\n".encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
        return f"{digest.hexdigest()}, {'bfloat16' if self.half else 'float32'}"

    def require_translations(self) -> None:
        """Raises InputError if the method makes no healthy twins."""
        if not (facts := self.method.facts).makes_twin:
            raise InputError(f"{facts.title} translates nothing; see `a2bgan methods`")

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        """By the picked score and weights; see `a2bgan.detection.prediction.Model`."""
        score, version = self.pick.score, self.pick.version
        return detect_batches(self.method, batches, score, version, half=self.half)

    def judge(self, images: np.ndarray) -> Iterator[Detection]:
        """`detect` of preprocessed images (N, C, H, W), so many at a time as are best."""
        return self.detect(in_batches(images, self.batch_size))

    def scores(self, images: np.ndarray) -> np.ndarray:
        """Scores (N,) float64 of preprocessed images (N, C, H, W), higher is less healthy."""
        parts = [found.scores.numpy() for found in self.judge(images)]
        return np.concatenate(parts).astype(np.float64) if parts else np.empty(0)


def load_trained(run: RunFolder, checkpoint: str = SELECTED, score: str | None = None) -> Trained:
    """A run's method, on the GPU where there is one. Raises InputError.

    checkpoint: "selected" for the run's own selection (the last checkpoint where nothing was
    selected), "last", or a checkpoint's step or name.
    score: instead of the selected one; the method's default where nothing was selected.
    """
    config = run.config()
    method = config.build_method()
    if score is not None:
        check_score(score, method.facts)
    pick = read_pick(run) if checkpoint == SELECTED else None
    if pick is None:
        pick = unselected(run, method, "last" if checkpoint == SELECTED else checkpoint)
    if score is not None:
        pick = replace(pick, score=score)
    found = find_checkpoint(run.checkpoints, pick.checkpoint)
    if checkpoint == SELECTED:
        _require_selected_weights(run, found)
    load_weights(found, method)
    for network in method.networks.values():
        network.eval()  # for good: several threads may judge with it
    return Trained(on_device(method), config, pick)


def pick_of(run: RunFolder) -> Pick:
    """What a run stands for: what was selected; the last checkpoint and the method's default score
    where nothing was. Raises InputError."""
    return read_pick(run) or unselected(run, run.config().build_method(), "last")


def unselected(run: RunFolder, method: Method, name: str) -> Pick:
    """What a run stands for by a checkpoint's name alone, with the method's default score.

    ``method`` gets the checkpoint's weights. Raises InputError.
    """
    found = find_checkpoint(run.checkpoints, name)
    load_weights(found, method)  # the default score may depend on them
    rule = "last" if name == "last" else "named"
    return Pick(found.name, method.versions[0], method.default_score, rule)


def on_device(method: Method) -> Method:
    """The same method, on the GPU where there is one."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    for network in method.networks.values():
        network.to(device)
    return method


def read_pick(run: RunFolder) -> Pick | None:
    """What was selected in a run; None where nothing was."""
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


def _require_selected_weights(run: RunFolder, checkpoint: Path) -> None:
    """InputError where a checkpoint's weights are others than those that were selected."""
    noted = (read_selection(run) or {}).get(WEIGHTS)
    if noted is not None and noted != weights_sha256(checkpoint):
        raise InputError(
            f"{checkpoint}: not the weights that were selected and calibrated; put those back, or "
            "run `a2bgan select` and `a2bgan calibrate`"
        )
