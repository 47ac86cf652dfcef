"""Scored cases on disk: what the worklist and the viewer show, computed once.

A folder of a room, `cases-<key>/`, that is there whole or not at all:
    cases.json   names, patients, digests, scores, what could not be read; how to show the pictures
    planes.npy   (N, P, S, S) uint16: input, healthy twin and anomaly map of each case

`key` is a digest of the weights, the score, the preprocessing and the files (sizes and times): when
any of them changes, the cases are scored anew. Labels are neither stored nor shown.
"""

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from a2bgan.data.formats.picture import ImageError
from a2bgan.data.formats.slice_names import fragment_of, volume_of
from a2bgan.data.open_data import open_data
from a2bgan.data.tag_filter import TagFilter
from a2bgan.data.volume_rows import expand_volumes
from a2bgan.detection.inputs import Input, find_inputs
from a2bgan.detection.predict import Prediction, predict
from a2bgan.detection.trained_model import Trained
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_folder
from a2bgan.training.run_folder import RunFolder

FORMAT = 3
THUMBNAIL = 64
"""Longest side of a thumbnail in pixels."""

_TOP = np.iinfo(np.uint16).max


@dataclass(frozen=True, slots=True)
class Pictures:
    """The planes of a case: input, and twin and map where there are any.

    size: side in pixels; channels: 1 or 3, of input and twin; the map has one.
    map_scale: the map value that gets the brightest colour.
    """

    size: int
    channels: int
    twin: bool
    map: bool
    map_scale: float

    @property
    def planes(self) -> int:
        return self.channels * (1 + self.twin) + self.map


@dataclass(frozen=True, slots=True)
class Case:
    """One image of the worklist.

    name: as the manifest has it. digest: SHA-256 of its file, of a slice that of its volume and its
    place, "" where that cannot be read.
    score: None where the image could not be scored; error says why.
    peak: the map value that the highest level of the map's plane stands for.
    slice: the end of the name of a volume's slice that is shown, "" for other images.
    """

    name: str
    patient: str
    digest: str
    score: float | None
    error: str
    peak: float
    slice: str = ""


class Cases:
    """The scored cases in a folder, and the files that they are of, which it does not name.

    inputs: of the cases, in their order. Raises InputError if the folder is damaged.
    """

    def __init__(self, folder: Path, inputs: Sequence[Input] = ()) -> None:
        self._files = [(i.path, _state(Path(volume_of(i.path)))) for i in inputs]
        try:
            text = json.loads((folder / "cases.json").read_text("utf-8"))
            self.pictures = Pictures(**text["pictures"])
            self.cases = [Case(*values) for values in text["cases"]]
            self._planes = np.load(folder / "planes.npy", mmap_mode="r", allow_pickle=False)
            p = self.pictures
            if self._planes.shape != (len(self.cases), p.planes, p.size, p.size):
                raise ValueError
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"{folder}: damaged; delete it, and it is made anew") from None

    def __len__(self) -> int:
        return len(self.cases)

    def planes(self, number: int) -> NDArray[np.uint16]:
        """Planes of a case, (P, S, S)."""
        return np.array(self._planes[number])

    def image(self, number: int) -> NDArray[np.uint16]:
        """The input of a case, (C, S, S)."""
        return np.array(self._planes[number, : self.pictures.channels])

    def anomaly_map(self, number: int) -> NDArray[np.float64] | None:
        """The map of a case, (S, S), in steps of its peak / 65535; None where there is none."""
        if not self.pictures.map:
            return None
        levels: NDArray[np.float64] = self._planes[number, -1] / _TOP
        return levels * self.cases[number].peak

    def file(self, number: int) -> Path:
        """The file of a case or, of a volume, the slice that is shown. Raises ImageError where it
        has gone, or is not the one that was scored."""
        path, state = self._files[number] if self._files else (Path(), None)
        now = None if state is None else _state(Path(volume_of(path)))
        if now is None:
            raise ImageError("the file is no longer there")
        if now != state:
            raise ImageError("the file has changed since it was scored")
        return path if fragment_of(path) else Path(f"{path}{self.cases[number].slice}")

    def thumbnail(self, number: int) -> bytes:
        """PNG of the input, at most `THUMBNAIL` pixels a side."""
        levels = (self.image(number) >> 8).astype(np.uint8)
        picture = Image.fromarray(np.moveaxis(levels, 0, -1).squeeze())
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        file = io.BytesIO()
        picture.save(file, format="PNG", compress_level=1)
        return file.getvalue()


def find_cases(run: RunFolder, data: str | None, chosen: TagFilter | None = None) -> list[Input]:
    """The cases to read: the test images of a data set, or all images of a folder that is none.

    By default the run's own test images. ``chosen``: of ``data`` only what has these tags. Raises
    InputError if there are none.
    """
    if data is not None and data != "phantom" and _is_plain_folder(Path(data)):
        folder = Path(data)
        found = find_inputs([folder], series=run.config().data.series == "volume")
        if chosen is not None:
            found, _ = chosen.keep(found, lambda item: item.path)
        # Names from the folder on: where it lies is nobody's business.
        return [Input(i.path.relative_to(folder).as_posix(), i.path, i.patient_id) for i in found]
    if data is None:
        rows = run.manifest().split("test")
    else:
        manifest = open_data(data)
        if chosen is not None:
            manifest, _ = chosen.narrow(manifest)
        rows = expand_volumes(manifest, run.config().data).split("test")
    if not rows:
        where = "this run" if data is None else data
        raise InputError(f"{where}: no test images to read; give --data, a set or a folder of them")
    return [Input(row.name, row.path, row.patient_id) for row in rows]


def open_cases(
    room: Path,
    trained: Trained,
    inputs: Sequence[Input],
    watch: Callable[[int], None] | None = None,
) -> Cases:
    """The cases of a room, scored first where that was not done. Raises InputError.

    ``watch`` is called with the number of images done while they are scored.
    """
    folder = room / f"cases-{_key(trained, inputs)[:20]}"
    if not folder.is_dir():
        facts, data = trained.method.facts, trained.config.data
        pictures = Pictures(
            data.size, data.channels, facts.makes_twin, facts.makes_map,
            float(trained.map_scale),
        )  # fmt: skip
        write_cases(folder, pictures, len(inputs), _read(trained, pictures, inputs, watch))
    return Cases(folder, inputs)


def write_cases(
    folder: Path, pictures: Pictures, count: int, cases: Iterable[tuple[Case, NDArray[np.uint16]]]
) -> None:
    """Write ``count`` cases and their planes, (P, S, S). Raises InputError if the disk is full."""
    shape = (count, pictures.planes, pictures.size, pictures.size)
    needed = int(np.prod(shape)) * 2
    try:
        free = shutil.disk_usage(folder.parent).free
        if needed > free:
            raise InputError(
                f"{folder.parent}: {needed / 1e9:.1f} GB are needed for the pictures and "
                f"{free / 1e9:.1f} are free; make room, or choose another place with --room"
            )
        with atomic_folder(folder) as partial:
            kept = []
            # No memory map: a disk that fills up would kill the process, not raise.
            with (partial / "planes.npy").open("wb") as file:
                header = {"descr": "<u2", "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_1_0(file, header)
                for case, planes in cases:
                    kept.append([getattr(case, name) for name in Case.__slots__])
                    file.write(planes.astype("<u2").tobytes())
            text = json.dumps({"format": FORMAT, "pictures": asdict(pictures), "cases": kept})
            (partial / "cases.json").write_text(text, "utf-8")
    except OSError as error:
        raise InputError(
            f"{folder.parent}: cannot be written ({error.strerror}); make room, or choose another "
            "place with --room"
        ) from None


def planes_of(prediction: Prediction) -> tuple[NDArray[np.uint16], float]:
    """(P, S, S) planes of a scored image, and the map value of the map's highest level."""
    parts = []
    for image in (prediction.image, prediction.twin):
        if image is not None:
            parts.append(np.rint(np.clip(image, 0, 1) * _TOP).astype(np.uint16))
    peak = 0.0
    if (anomaly_map := prediction.anomaly_map) is not None:
        peak = float(anomaly_map.max())
        levels = anomaly_map / peak if peak > 0 else np.zeros_like(anomaly_map)
        parts.append(np.rint(np.clip(levels, 0, 1) * _TOP).astype(np.uint16)[np.newaxis])
    return np.concatenate(parts), peak


def _is_plain_folder(path: Path) -> bool:
    return path.is_dir() and not any(
        (path / name).exists() for name in ("manifest.csv", "healthy", "mixed", "test")
    )


def _read(
    trained: Trained,
    pictures: Pictures,
    inputs: Sequence[Input],
    watch: Callable[[int], None] | None,
) -> Iterable[tuple[Case, NDArray[np.uint16]]]:
    nothing = np.zeros((pictures.planes, pictures.size, pictures.size), np.uint16)
    digests: dict[str, str] = {}  # of a volume's slices the volume is read once
    for done, p in enumerate(predict(trained, inputs), start=1):
        pixels, peak = nothing, 0.0
        if p.score is not None:
            pixels, peak = planes_of(p)
        name = os.fsencode(p.input.name).decode("utf-8", "replace")
        file = volume_of(p.input.path)
        if file not in digests:
            digests[file] = _digest(Path(file))
        digest = digests[file] and digests[file] + fragment_of(p.input.path)
        shown = fragment_of(p.shown.path)
        yield Case(name, p.input.patient_id, digest, p.score, p.error, peak, shown), pixels
        if watch is not None:
            watch(done)


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of those of the files in a folder; "" where one cannot be read."""
    digests = []
    try:
        for part in _files(path) if path.is_dir() else [path]:
            with part.open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest())
    except OSError:
        return ""
    return hashlib.sha256("".join(digests).encode()).hexdigest() if path.is_dir() else digests[0]


def _key(trained: Trained, inputs: Sequence[Input]) -> str:
    states = {file: _state(Path(file)) for file in {volume_of(i.path) for i in inputs}}
    known = {
        "format": FORMAT,
        "pick": asdict(trained.pick),
        "data": trained.config.data.model_dump(mode="json"),
        "weights": trained.fingerprint,
        "inputs": [(i.name, i.patient_id, states[volume_of(i.path)]) for i in inputs],
    }
    return hashlib.sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()


def _state(path: Path) -> list[tuple[int, int]] | None:
    """Size and time of a file, or of each file in a folder; None where they cannot be had."""
    try:
        found = [file.stat() for file in (_files(path) if path.is_dir() else [path])]
    except OSError:
        return None
    return [(status.st_size, status.st_mtime_ns) for status in found]


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_file())
