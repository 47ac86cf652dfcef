"""A run folder, which holds everything about one training."""

import json
import os
import platform
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from a2bgan.data import bounds
from a2bgan.data.manifest import Manifest, read_manifest
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder, write_atomically
from a2bgan.files.links import refuse_links
from a2bgan.training.config import Config, read_config, write_config
from a2bgan.training.run_lock import run_lock

REPEATED_PREFIX = "seed-"


class RunFolder:
    """Paths and files of one run.

    ``config.yaml`` resolved configuration; ``manifest.csv`` and ``manifest.json`` (its source
    folder and hash), or ``images.sha256`` of a run on arrays; ``environment.json``;
    ``metrics.jsonl``; ``tensorboard/``; ``checkpoints/step-NNNNNNNN/``; ``samples/``;
    ``resources.json``. What was decided with held-out images: ``holdout.csv``,
    ``validation.jsonl``, ``selection.json``, ``calibration.json``.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.yaml"
        self.manifest_file = path / "manifest.csv"
        self.manifest_source_file = path / "manifest.json"
        self.images_file = path / "images.sha256"
        self.environment_file = path / "environment.json"
        self.metrics_file = path / "metrics.jsonl"
        self.tensorboard = path / "tensorboard"
        self.resources_file = path / "resources.json"
        self.checkpoints = path / "checkpoints"
        self.samples = path / "samples"
        self.profile = path / "profile"
        self.holdout_file = path / "holdout.csv"
        self.validation_file = path / "validation.jsonl"
        self.selection_file = path / "selection.json"
        self.calibration_file = path / "calibration.json"

    @staticmethod
    def refuse_occupied(path: Path, *, overwrite: bool) -> None:
        """Raises InputError if a new run must not go there: something else, or a run, is there.

        ``overwrite`` permits a run, and only a run, to be replaced.
        """
        if not path.exists() or (path.is_dir() and not any(path.iterdir())):
            return
        if not RunFolder(path).config_file.exists():
            raise InputError(f"{path}: exists and is not a run; choose another folder")
        if not overwrite:
            raise InputError(
                f"{path}: a run is there; resume=True goes on with it, overwrite=True replaces it"
            )

    @classmethod
    def create(
        cls,
        path: Path,
        config: Config,
        *,
        overwrite: bool = False,
        fill: Callable[["RunFolder"], None] = lambda run: None,
    ) -> "RunFolder":
        """A new run that its owner alone can read, there whole or not at all; an old one in its
        place is deleted if ``overwrite``. Raises InputError.

        fill: writes what else belongs to a new run, before it is in place.
        """
        cls.refuse_occupied(path, overwrite=overwrite)
        old = path.parent / f".{path.name}.old-{uuid.uuid4().hex[:12]}"
        try:
            if overwrite and cls(path).config_file.exists():
                with run_lock(path, "train"):  # not while another process trains it
                    os.rename(path, old)
            with atomic_folder(path) as partial:
                partial.chmod(0o700)
                run = cls(partial)
                for folder in (run.checkpoints, run.samples):
                    folder.mkdir()
                run.environment_file.write_text(json.dumps(_environment(), indent=2) + "\n")
                write_config(config, run.config_file)
                fill(run)
        except OSError as error:
            raise InputError(f"{path}: cannot be created ({error.strerror})") from None
        finally:
            shutil.rmtree(old, ignore_errors=True)
        return cls(path)

    @staticmethod
    def repeated(path: Path, number: int) -> Path:
        """Path of one of several repeated runs below their common folder."""
        return path / f"{REPEATED_PREFIX}{number}"

    @classmethod
    def open_all(cls, path: Path) -> "list[RunFolder]":
        """The repeated runs below a folder, or the one run that it is. Raises InputError."""
        found = [p for p in path.glob(f"{REPEATED_PREFIX}*") if cls(p).config_file.is_file()]
        if not found or cls(path).config_file.is_file():
            return [cls.open(path)]
        for run in found:
            refuse_links(run)
        return [cls(p) for p in sorted(found, key=lambda p: (len(p.name), p.name))]

    @classmethod
    def open(cls, path: Path) -> "RunFolder":
        """An existing run. Raises InputError if there is none."""
        run = cls(path)
        if not run.config_file.is_file():
            raise InputError(
                f"{path}: not a run (no config.yaml), as `a2bgan train` and Detector.save write it"
            )
        refuse_links(path)
        return run

    def environment(self) -> dict[str, Any]:
        """Machine and packages of the training; empty where that is no longer readable."""
        try:
            found = json.loads(self.environment_file.read_text())
        except (OSError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    def note_threads(self, threads: int) -> None:
        """Note how many processor threads the training has. Raises InputError."""
        environment = self.environment()
        if environment.get("threads") == threads:
            return
        try:
            text = json.dumps({**environment, "threads": threads}, indent=2) + "\n"
            write_atomically(self.environment_file, text)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None

    def config(self) -> Config:
        return read_config(self.config_file)

    def keep_manifest(self, manifest: Manifest, leaks: Sequence[str] = ()) -> None:
        """Copy the manifest; note its hash, the folder that its paths are relative to, the tags by
        which its rows were chosen, and leaks between its sets that the user allowed."""
        manifest.write(self.manifest_file)
        source: dict[str, Any] = {
            "root": str(manifest.root.resolve()), "sha256": manifest.sha256
        }  # fmt: skip
        if manifest.where:
            source["where"] = manifest.where
        if leaks:
            source["leaks"] = list(leaks)
        # Whole, for processes that wait for it.
        write_atomically(self.manifest_source_file, json.dumps(source, indent=2) + "\n")

    def manifest(self) -> Manifest:
        """The manifest the run was trained on.

        Raises InputError if its images have moved or it was changed since.
        """
        self.image_root()
        return self.noted_manifest()

    def noted_manifest(self) -> Manifest:
        """`manifest`, whether its images are there or not."""
        found = read_manifest(self.manifest_file, root=Path(self.noted_image_root()))
        if found.sha256 != self.manifest_sha256():
            raise InputError(
                f"{self.manifest_file}: not the manifest that the run was trained on; put that one "
                "back, or give --data where the command takes it"
            )
        return found

    def image_root(self) -> Path:
        """The folder that the manifest's paths are relative to. Raises InputError if it is gone."""
        root = Path(self.noted_image_root())
        if not root.is_dir():
            raise InputError(
                f"{root}: the images of this run are gone; put them back, or give --data where the "
                "command takes it"
            )
        return root

    def noted_image_root(self) -> str:
        """The same folder as it was noted, there or not. Raises InputError without a manifest."""
        root: str = self._manifest_source()["root"]
        return root

    def manifest_sha256(self) -> str:
        sha256: str = self._manifest_source()["sha256"]
        return sha256

    def manifest_where(self) -> str:
        """The DICOM tags by which rows were chosen; "" where all were taken."""
        where: str = self._manifest_source().get("where", "")
        return where

    def manifest_leaks(self) -> list[str]:
        """Leaks between the sets that the user allowed, see `a2bgan.data.leaks`."""
        if not self.manifest_source_file.exists():
            return []
        leaks: list[str] = self._manifest_source().get("leaks", [])
        return leaks

    def _manifest_source(self) -> dict[str, Any]:
        try:
            source: dict[str, Any] = json.loads(self.manifest_source_file.read_text())
            if not {"root", "sha256"} <= {k for k, v in source.items() if isinstance(v, str)}:
                raise ValueError
            leaks = source.get("leaks", [])
            if not isinstance(source.get("where", ""), str) or not isinstance(leaks, list):
                raise ValueError
            if not all(isinstance(leak, str) for leak in leaks):
                raise ValueError
        except FileNotFoundError:
            raise InputError(
                f"{self.path}: trained on arrays, without a manifest; give --data where the "
                "command takes it"
            ) from None
        except (OSError, ValueError, AttributeError, RecursionError):
            raise InputError(
                f"{self.manifest_source_file}: damaged; `a2bgan train --resume` with --data writes "
                "it anew"
            ) from None
        return source

    def note_images(self, sha256: str) -> None:
        """Write the digest of the images that a run without a manifest is trained on."""
        self.images_file.write_text(sha256 + "\n")

    def noted_images(self) -> str:
        """The digest of `note_images`; "" where there is none."""
        try:
            return self.images_file.read_text().strip()
        except (OSError, UnicodeDecodeError):
            return ""

    def note_resources(self, seconds: float) -> None:
        """Write how long the training took and the most memory it has had, in bytes."""
        noted = {
            "training_seconds": seconds,
            "peak_memory": _peak_memory(),
            "peak_gpu_memory": (
                torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
            ),
        }
        with suppress(
            OSError, ValueError, KeyError, TypeError, RecursionError
        ):  # of an earlier part of the training
            before = json.loads(self.resources_file.read_text())
            for key in ("peak_memory", "peak_gpu_memory"):
                noted[key] = max((noted[key], before[key]), key=lambda value: value or 0)
        write_atomically(self.resources_file, json.dumps(noted, indent=2) + "\n")

    def truncate_metrics(self, last_step: int) -> None:
        """Forget what was logged after a step: a resumed run logs it again."""
        if self.metrics_file.exists():
            kept = [line for line in self.metrics() if line["step"] <= last_step]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_atomically(self.metrics_file, text)

    def append_metrics(self, record: dict[str, Any]) -> None:
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """Logged lines, up to one that is half written or damaged."""
        try:
            lines = self.metrics_file.read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return
        for line in lines:
            try:
                record = json.loads(line)
                step = record["step"]
                numbers = {name: float(value) for name, value in record.items() if name != "step"}
            except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
                return
            if not isinstance(step, int) or not 0 <= step <= bounds.STEPS:
                return
            yield {"step": step, **numbers}


def _peak_memory() -> int:
    """The most resident memory that this process has had, in bytes."""
    try:
        # Linux hands ru_maxrss on to the programs that a process starts; this one it does not.
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return 1024 * int(line.split()[1])
    except OSError:
        pass
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix has it

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def _environment() -> dict[str, Any]:
    packages = ("a2bgan", "torch", "lightning-fabric", "numpy", "pillow", "scikit-learn")
    return {
        "python": platform.python_version(),
        "system": platform.platform(),
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "gpus": [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())],
        "packages": {name: version(name) for name in packages},
    }
