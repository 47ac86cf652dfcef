"""Open whatever can score: a run, or an exported file, for which PyTorch is not imported."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from a2bgan.detection.exported_model import SUFFIXES, load_exported, runtime_of
from a2bgan.errors import InputError

if TYPE_CHECKING:
    from a2bgan.detection.decisions.calibration import Calibration
    from a2bgan.detection.exported_model import Exported
    from a2bgan.detection.trained_model import Trained


def open_model(
    path: Path,
    checkpoint: str = "selected",
    score: str | None = None,
    runtime: str | None = None,
    half: bool = False,
    accelerator: str = "auto",
) -> "tuple[Trained | Exported, Calibration | None]":
    """Open a run's method, or an exported one, and its calibration. Raises InputError.

    path: a run folder or an exported file.
    checkpoint, score: see `a2bgan.detection.trained_model.load_trained`; a file has its own.
    runtime: "torch", "onnx" or "openvino"; by default that of the file, or PyTorch for a run.
    half: compute in bfloat16.
    accelerator: of PyTorch, see `a2bgan.detection.trained_model.device_named`.
    """
    of_file = None if path.is_dir() else runtime_of(path)
    if of_file is None and runtime in (None, "torch"):
        from a2bgan.detection.decisions.calibration import read_calibration
        from a2bgan.detection.trained_model import load_trained
        from a2bgan.training.run_folder import RunFolder

        folder = RunFolder.open(path)
        trained = load_trained(folder, checkpoint, score, accelerator)
        trained = replace(trained, half=half)
        return trained, read_calibration(folder)
    if accelerator != "auto":
        raise InputError("an exported file runs on the CPU: leave out --accelerator")
    if score is not None or checkpoint != "selected":
        raise InputError(
            "an exported file has its own score and checkpoint: leave out --score and --checkpoint"
        )
    if of_file is not None:
        if runtime not in (None, of_file):
            raise InputError(f"{path}: a file for {of_file}, not for {runtime}")
        exported = load_exported(path, half=half)
    else:
        from a2bgan.detection.decisions.calibration import read_calibration
        from a2bgan.detection.pick import same_scores
        from a2bgan.detection.trained_model import pick_of
        from a2bgan.training.run_folder import RunFolder

        assert runtime is not None
        folder = RunFolder.open(path)
        file = path / f"model{SUFFIXES[runtime]}"
        command = shlex.join(["a2bgan", "export", str(path), "--format", runtime])
        if not file.is_file():
            raise InputError(f"{file}: missing; `{command}` makes it")
        exported = load_exported(file, half=half)
        if not same_scores(exported.pick, pick_of(folder)):
            raise InputError(
                f"{file}: of another checkpoint or score than the run's; `{command}` makes it anew"
            )
        return exported, read_calibration(folder)
    return exported, exported.calibration
