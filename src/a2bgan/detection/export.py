"""Write a trained method as one file, and check the file on images before it is kept."""

import contextlib
import inspect
import io
import json
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from a2bgan.data.batches import to_unit_range
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.detect import score_of
from a2bgan.detection.detection import in_batches
from a2bgan.detection.exported_model import (
    INPUT,
    KEY,
    SUFFIXES,
    About,
    Network,
    load_exported,
)
from a2bgan.detection.scores import SCORES
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError, not_installed

Format = Literal["onnx", "openvino", "torch"]

ENDINGS = {**SUFFIXES, "torch": ".pt2"}

TOLERANCE = 1e-3
"""Largest difference from PyTorch's scores or maps, as a share of their largest value."""

LEAST = 1e-3
"""Least largest value: a network that changes nothing leaves rounding errors."""

PACKAGES = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnxscript", "openvino")}


@dataclass(frozen=True, slots=True)
class Check:
    """Differences between an exported file and PyTorch on so many images, as shares of the largest
    value. ``map`` is None where the method makes none."""

    images: int
    score: float
    map: float | None


class _Scoring(nn.Module):
    """From images (N, C, H, W) in [-1, 1] to the score, then map and twin where there are."""

    def __init__(self, trained: Trained) -> None:
        super().__init__()
        self.networks = nn.ModuleDict(trained.method.networks)
        self.trained = trained

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        pick = self.trained.pick
        finding = self.trained.method.find(x, pick.version)
        outputs = score_of(finding, pick.score), finding.anomaly_map, finding.twin
        return tuple(part.contiguous() for part in outputs if part is not None)


def export(
    trained: Trained, calibration: Calibration | None, images: np.ndarray, form: Format, out: Path
) -> Check:
    """Write a method to ``out``: preprocessing, score, threshold and network.

    The method is on the CPU from then on: a file must not need the device that it was made on.

    calibration: one that holds for the method's pick, see `usable_calibration`.
    images: preprocessed (N, C, H, W), N >= 2; the file is checked on them before it is put in
        place. OpenVINO writes a .bin beside ``out``.

    Raises InputError if the method cannot be exported, a package is missing, the file's results
    differ by more than `TOLERANCE`, or it cannot be written.
    """
    if out.suffix != ENDINGS[form]:
        raise InputError(f"{out}: a file for {form} ends with {ENDINGS[form]}")
    about = describe(trained, calibration)
    network = _Scoring(trained).eval().cpu()
    # Not one image: an exporter may take a batch of one for a constant.
    x = to_unit_range(images[:2])
    names = list(about.outputs)
    try:
        expected = _in_parts(_network(network, names), images, trained.batch_size)
        with tempfile.TemporaryDirectory(prefix=".exporting-", dir=out.parent) as folder:
            file = Path(folder, out.name)
            _write(form, network, x, names, about.model_dump_json(), file)
            measured = _in_parts(_open(form, file), images, trained.batch_size)
            check = _compare(expected, measured, len(images))
            if max(check.score, check.map or 0.0) > TOLERANCE:
                raise InputError(
                    f"{out}: not written: scores differ from PyTorch's by {check.score:.1e} and "
                    f"maps by {check.map or 0:.1e} of their largest value; allowed is {TOLERANCE:g}"
                )
            # First remove an older file, last put the new one in place: it is whole at any time.
            parts = sorted(Path(folder).iterdir(), key=lambda part: part.name == out.name)
            if len(parts) > 1:
                out.unlink(missing_ok=True)
            for part in parts:
                os.replace(part, out.with_name(part.name))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return check


def describe(trained: Trained, calibration: Calibration | None) -> About:
    """The description that the file will hold."""
    data, facts, score = trained.data, trained.method.facts, trained.pick.score
    side = f"{data.size}, {data.size}"
    outputs = {"score": "(N,) higher is less healthy"}
    if facts.makes_map:
        outputs["map"] = f"(N, {side}) 0 or more, higher where less healthy"
    if facts.makes_twin:
        outputs["twin"] = f"(N, {data.channels}, {side}) in [-1, 1]"
    definition = f"{facts.title}'s own score"
    if score in SCORES and score not in facts.own_scores:
        definition = " ".join((inspect.getdoc(SCORES[score]) or "").split("\n\n")[0].split())
    return About(
        a2bgan=version("a2bgan"),
        method=trained.config.method.name,
        title=facts.title,
        note=trained.method.note,
        data=data,
        input=f"{INPUT}: (N, {data.channels}, {side}) float32, preprocessed values scaled from "
        f"[0, {2**data.depth - 1}] to [-1, 1]",
        outputs=outputs,
        pick=asdict(trained.pick),
        score_definition=definition,
        map_scale=trained.map_scale,
        calibration=None if calibration is None else calibration.as_dict(),
    )


def _write(
    form: Format, network: nn.Module, x: Tensor, names: Sequence[str], text: str, file: Path
) -> None:
    try:
        for package in PACKAGES.get(form, ()):
            __import__(package)
    except ImportError:
        raise not_installed(package, "export") from None
    with _quiet():
        try:
            with torch.no_grad():
                shapes = ({0: torch.export.Dim("n", min=1)},)
                program = torch.export.export(network, (x,), dynamic_shapes=shapes)
            if form == "torch":
                torch.export.save(program, file, extra_files={f"{KEY}.json": text})
                return
            onnx_program: Any = torch.onnx.export(
                program, input_names=[INPUT], output_names=list(names), dynamo=True, verbose=False
            )
            if form == "openvino":
                _save_openvino(onnx_program, names, text, file)
                return
        except Exception as error:
            if isinstance(error, OSError):
                raise
            raise InputError(
                f"this method cannot be exported to {form} ({type(error).__name__}): its scoring "
                "is not a fixed chain of operations"
            ) from None
        import onnx

        model = onnx_program.model_proto
        _forget_sources(model)
        onnx.helper.set_model_props(model, {KEY: text})
        model.producer_name = KEY
        model.doc_string = "a2bgan: for research; not a medical device"
        onnx.save(model, file)


def _forget_sources(model: Any) -> None:
    """Remove what the exporter notes of each operation: lines of files on this machine."""
    graphs = [model.graph, *model.functions]
    for graph in graphs:
        del graph.metadata_props[:]
        for node in graph.node:
            node.doc_string = ""
            del node.metadata_props[:]
    del model.metadata_props[:]


def _save_openvino(onnx_program: Any, names: Sequence[str], text: str, file: Path) -> None:
    import openvino as ov

    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:
        onnx_program.save(Path(folder, "model.onnx"))
        converted = ov.convert_model(Path(folder, "model.onnx"))
    for output, name in zip(converted.outputs, names, strict=True):
        output.get_tensor().set_names({name})
    converted.set_rt_info(text, [KEY])
    ov.save_model(converted, file, compress_to_fp16=False)


def _open(form: Format, file: Path) -> Network:
    if form != "torch":
        return load_exported(file).network
    extra = {f"{KEY}.json": ""}
    module = torch.export.load(file, extra_files=extra).module()
    return _network(module, list(json.loads(extra[f"{KEY}.json"])["outputs"]))


def _network(module: nn.Module, names: Sequence[str]) -> Network:
    """A module whose outputs have these names."""

    def run(x: np.ndarray) -> dict[str, np.ndarray]:
        with torch.no_grad():
            found = [part.numpy() for part in module(torch.from_numpy(x))]
        return dict(zip(names, found, strict=True))

    return run


def _in_parts(network: Network, images: np.ndarray, batch_size: int) -> dict[str, np.ndarray]:
    """Outputs for preprocessed images (N, C, H, W), which memory need not hold all at once."""
    found = [network(to_unit_range(part).numpy()) for part in in_batches(images, batch_size)]
    return {name: np.concatenate([part[name] for part in found]) for name in found[0]}


def _compare(
    expected: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray], images: int
) -> Check:
    def share(name: str) -> float | None:
        if name not in expected:
            return None
        one, other = expected[name], measured[name]
        largest = max(float(np.abs(one).max()), LEAST)
        difference = float(np.abs(one - other).max()) / largest
        return difference if np.isfinite(difference) else np.inf

    score = share("score")
    assert score is not None
    return Check(images, score, share("map"))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence exporters, which print and warn about what no user can change."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)
