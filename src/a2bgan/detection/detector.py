"""The Python interface: an estimator in scikit-learn's manner."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from a2bgan.data.preprocessing import DataConfig, load_image, preprocess
from a2bgan.data.readers import ImageError
from a2bgan.detection.detect import Detection, detect
from a2bgan.detection.predict import find_inputs
from a2bgan.detection.trained import Trained, load_trained
from a2bgan.errors import InputError
from a2bgan.training.checkpoint import find_checkpoint
from a2bgan.training.config import load_config
from a2bgan.training.loop import train
from a2bgan.training.run_folder import RunFolder

Images = np.ndarray | torch.Tensor | str | Path | Sequence[str | Path]
"""Images however they are at hand.

Arrays: (N, H, W), (N, H, W, C) or (N, C, H, W) with C 1 or 3; uint8, uint16, or floats in [0, 1].
Tensors: the same. Otherwise a folder, or files by their paths.
"""


class Detector(BaseEstimator):  # type: ignore[misc]
    """Learn from healthy and mixed images; then score, translate and show differences.

    Args:
        preset: settings to start from, such as "fast" or "paper".
        size: side in pixels that images are brought to; None keeps the preset's.
        steps, minutes: length of training, one of them; None keeps the preset's.
        seed: of everything random.
        score_name: how a difference map becomes a score, see `a2bgan.detection.scores`.
        settings: any others, by their dotted name: ``{"data.equalize": True}``.

    Attributes:
        trained_: the trained method, its configuration and the name of its checkpoint.

    Parameters are checked in `fit`, which raises InputError (a ValueError) in one line.
    """

    def __init__(
        self,
        preset: str = "fast",
        *,
        size: int | None = None,
        steps: int | None = None,
        minutes: float | None = None,
        seed: int = 0,
        score_name: str = "mean",
        settings: dict[str, Any] | None = None,
    ) -> None:
        self.preset = preset
        self.size = size
        self.steps = steps
        self.minutes = minutes
        self.seed = seed
        self.score_name = score_name
        self.settings = settings

    def fit(self, healthy: Images, mixed: Images) -> Self:
        """Train on healthy images (B) and images nobody has annotated (A).

        Raises InputError if a set is empty, a file cannot be read, or an array is none of `Images`.
        """
        named = {
            "data.size": self.size,
            "train.steps": self.steps,
            "train.minutes": self.minutes,
            "train.seed": self.seed,
        }
        chosen = {key: value for key, value in named.items() if value is not None}
        chosen |= self.settings or {}
        # JSON is YAML, which settings are written in.
        settings = [f"{key}={json.dumps(value)}" for key, value in chosen.items()]
        config = load_config(self.preset, None, settings)
        healthy_pixels = _preprocessed(healthy, config.data, "healthy")
        mixed_pixels = _preprocessed(mixed, config.data, "mixed")
        # Sample grids show training images: only configuration and weights outlive this folder.
        self._forget()
        self._folder = tempfile.TemporaryDirectory(prefix="a2bgan-")
        run = RunFolder.create(Path(self._folder.name), config)
        outcome = train(config, healthy_pixels, mixed_pixels, run)
        shutil.rmtree(run.samples)
        if outcome.interrupted:
            self._forget()
            raise KeyboardInterrupt
        self.trained_ = load_trained(run)
        return self

    def score(self, images: Images) -> np.ndarray:
        """Anomaly scores (N,), float64, higher is less healthy.

        Not scikit-learn's ``score(X, y)``: there is no y to compare with.
        """
        return np.concatenate([d.scores.numpy() for d in self._detect(images)]).astype(np.float64)

    def translate(self, images: Images) -> np.ndarray:
        """Healthy twins (N, C, S, S), float32 in [0, 1], at the size of training."""
        return np.concatenate([((d.twin + 1) / 2).numpy() for d in self._detect(images)])

    def difference(self, images: Images) -> np.ndarray:
        """Difference maps (N, S, S), float32 in [0, 1], at the size of training."""
        return np.concatenate([d.difference.numpy() for d in self._detect(images)])

    def save(self, folder: str | Path) -> None:
        """Write a run folder, which `load`, `a2bgan evaluate` and `a2bgan predict` read.

        It holds configuration and weights, no images. Raises InputError if anything is there.
        """
        check_is_fitted(self, "trained_")
        target = RunFolder.create(Path(folder), self.trained_.config)
        checkpoint = find_checkpoint(self._run.checkpoints, self.trained_.checkpoint)
        shutil.copytree(checkpoint, target.checkpoints / checkpoint.name)

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """A fitted detector from `save`, or from a run of `a2bgan train`. Raises InputError."""
        run = RunFolder.open(Path(folder))
        trained = load_trained(run)
        settings = _by_dotted_name(trained.config.model_dump(mode="json"))
        detector = cls(seed=trained.config.train.seed, settings=settings)
        detector.trained_ = trained
        detector._loaded_from = run
        return detector

    @property
    def _run(self) -> RunFolder:
        loaded: RunFolder | None = getattr(self, "_loaded_from", None)
        return loaded if loaded is not None else RunFolder(Path(self._folder.name))

    def _forget(self) -> None:
        for name in ("trained_", "_loaded_from", "_folder"):
            if hasattr(self, name):
                delattr(self, name)

    def _detect(self, images: Images) -> list[Detection]:
        check_is_fitted(self, "trained_")
        trained: Trained = self.trained_
        pixels = _preprocessed(images, trained.config.data, "images")
        return list(detect(trained.method, pixels, self.score_name))


def _by_dotted_name(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _by_dotted_name(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _preprocessed(images: Images, config: DataConfig, name: str) -> np.ndarray:
    """(N, C, S, S) uint8 or uint16. Raises InputError that starts with ``name``."""
    if isinstance(images, np.ndarray | torch.Tensor):
        return _from_array(np.asarray(images), config, name)
    paths = [images] if isinstance(images, str | Path) else list(images)
    loaded = []
    for item in find_inputs([Path(path) for path in paths]):
        try:
            loaded.append(load_image(item.path, config))
        except ImageError as error:
            raise InputError(f"{name}: {item.name}: {error}") from None
    if not loaded:
        raise InputError(f"{name}: no images were given")
    return np.stack(loaded)


def _from_array(array: np.ndarray, config: DataConfig, name: str) -> np.ndarray:
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] not in (1, 3):
        array = array.transpose(0, 2, 3, 1)
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 and not (array.ndim == 4 and array.shape[3] == 3):
        raise InputError(
            f"{name}: expected (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 channels, "
            f"got {array.shape}"
        )
    if not len(array):
        raise InputError(f"{name}: no images were given")
    if array.dtype not in (np.uint8, np.uint16):
        if not np.issubdtype(array.dtype, np.floating):
            raise InputError(f"{name}: expected uint8, uint16 or floats, got {array.dtype}")
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise InputError(f"{name}: floats must be in [0, 1], without NaN")
        array = (array * np.iinfo(np.uint16).max).round().astype(np.uint16)
        # [0, 1] is already a window: the range of the type, not one found in each image.
        if config.window == "auto":
            config = config.model_copy(update={"window": "full"})
    try:
        return np.stack([preprocess(image, config) for image in array])
    except ImageError as error:
        raise InputError(f"{name}: {error}") from None
