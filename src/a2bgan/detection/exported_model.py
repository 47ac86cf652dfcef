"""A trained method as one file, which a runtime scores with, without the run.

The file holds a network from preprocessed images to scores, maps and twins, and `About`, which
tells how to use it, as JSON under the key "a2bgan" (in ``metadata_props`` of ONNX, in ``rt_info``
of OpenVINO).
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from a2bgan.data.config import DataConfig
from a2bgan.data.unit_range import in_unit_range
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.detection import Detection, batch_size_for
from a2bgan.detection.pick import Pick
from a2bgan.errors import UNREADABLE, InputError, not_installed
from a2bgan.files.ordered_work import in_order

KEY = "a2bgan"

SUFFIXES = {"onnx": ".onnx", "openvino": ".xml"}
"""Runtimes that score, and their files' suffixes; beside an .xml lies a .bin of its name."""

INPUT = "image"

Network = Callable[[np.ndarray], dict[str, np.ndarray]]
"""Turns images (N, C, H, W), float32 in [-1, 1], into outputs by name: score (N,), and where the
method makes them map (N, H, W) and twin (N, C, H, W)."""


class About(BaseModel):
    """The description in an exported file.

    method, title, note: the method, and what must be known about its results.
    data: the constants of preprocessing, see `a2bgan.data.preprocessing.preprocess`.
    input, outputs: shapes and ranges, in words; the batch is of any size.
    pick: checkpoint, weights and score; score_definition: the score in words.
    map_scale: map value that pictures paint in the brightest colour.
    calibration: a `Calibration`, which names no patient and no file, or None.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    a2bgan: str
    method: str
    title: str
    note: str | None
    data: DataConfig
    input: str
    outputs: dict[str, str]
    pick: dict[str, Any]
    score_definition: str
    map_scale: float
    calibration: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Exported:
    """A model out of a file; scores like a `Trained` one.

    fingerprint: of the file and the runtime, see `a2bgan.detection.predict.Model`.
    """

    about: About
    pick: Pick
    calibration: Calibration | None
    network: Network
    fingerprint: str

    @property
    def data(self) -> DataConfig:
        """Preprocessing of images."""
        return self.about.data

    @property
    def makes_map(self) -> bool:
        """True for models that make maps."""
        return "map" in self.about.outputs

    @property
    def map_scale(self) -> float:
        """Map value that pictures paint in the brightest colour."""
        return self.about.map_scale

    @property
    def batch_size(self) -> int:
        """Best number of images to look at together."""
        return batch_size_for("cpu", self.data.size)

    def detect(self, batches: Iterable[np.ndarray]) -> Iterator[Detection]:
        """See `a2bgan.detection.predict.Model`; the next batch is scored meanwhile."""

        def score(images: np.ndarray) -> Detection:
            x = in_unit_range(images)
            found = self.network(x)
            return Detection(x, found["score"], found.get("twin"), found.get("map"))

        with ThreadPoolExecutor(1) as pool:  # the runtime's own threads share a batch
            yield from in_order(pool, score, batches, ahead=2)


def runtime_of(file: Path) -> str | None:
    """The runtime for a file by its suffix; None for any other path. Raises InputError for a .pt2,
    which only other programs use."""
    if file.suffix == ".pt2":
        raise InputError(
            f"{file}: .pt2 files are for other programs; export with --format onnx or openvino"
        )
    return next((name for name, suffix in SUFFIXES.items() if file.suffix == suffix), None)


def load_exported(file: Path, *, half: bool = False) -> Exported:
    """Open a file of `a2bgan export`. Raises InputError if it cannot be used.

    half: compute in bfloat16 where the processor has it, which changes scores slightly; OpenVINO
        only.
    """
    if not file.is_file():
        raise InputError(f"{file}: no such file; `a2bgan export` makes one")
    runtime = runtime_of(file)
    if runtime is None:
        raise InputError(f"{file}: not a model to score with: .onnx or .xml")
    if half and runtime != "openvino":
        raise InputError(f"{file}: {runtime} computes in float32 alone: leave out --half")
    try:
        network, text = _open_openvino(file, half) if runtime == "openvino" else _open_onnx(file)
    except ImportError:
        raise not_installed(runtime, "export") from None
    except Exception as error:  # both runtimes raise their own kinds, of the general one
        if isinstance(error, InputError):
            raise
        raise InputError(f"{file}: damaged, or no model for {runtime}") from None
    try:
        about = About.model_validate_json(text)
        stored = about.calibration
        calibration = None if stored is None else Calibration.from_dict(stored)
        fingerprint = f"{_sha256(file)}, {runtime}{', bfloat16' if half else ''}"
        return Exported(about, Pick.from_dict(about.pick), calibration, network, fingerprint)
    except (ValidationError, *UNREADABLE):
        raise InputError(f"{file}: not written by `a2bgan export`, or by a newer one") from None


def _sha256(file: Path) -> str:
    """Digest of the file and of the weights beside an .xml."""
    digest = hashlib.sha256(file.read_bytes())
    if (weights := file.with_suffix(".bin")).is_file() and file.suffix == SUFFIXES["openvino"]:
        digest.update(weights.read_bytes())
    return digest.hexdigest()


def _threads() -> int:
    """Threads to compute with: what OMP_NUM_THREADS says, or one for each core that may be used."""
    try:
        return max(1, int(os.environ["OMP_NUM_THREADS"]))
    except (KeyError, ValueError):
        if sys.platform == "linux":
            return len(os.sched_getaffinity(0))
        return os.cpu_count() or 1


def _open_onnx(file: Path) -> tuple[Network, str]:
    import onnxruntime as ort

    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = _threads()
    providers = [name for name in wanted if name in ort.get_available_providers()]
    session = ort.InferenceSession(file, options, providers=providers)
    names = [output.name for output in session.get_outputs()]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, {INPUT: x}), strict=True))

    return run, session.get_modelmeta().custom_metadata_map.get(KEY, "")


def _open_openvino(file: Path, half: bool) -> tuple[Network, str]:
    import openvino as ov

    core = ov.Core()
    model = core.read_model(file)
    text = str(model.get_rt_info([KEY]).value) if model.has_rt_info([KEY]) else ""
    precision = "bf16" if half else "f32"
    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": _threads(),
    }
    compiled = core.compile_model(model, "CPU", settings)
    names = [output.get_any_name() for output in compiled.outputs]

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        found = compiled(x)
        return {name: np.array(found[name]) for name in names}

    return run, text
