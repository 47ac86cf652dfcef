"""Text and bytes that a stranger could send, against everything that reads files.

    python benchmarks/fuzz.py --minutes 10

Hypothesis makes manifests, settings, files of a run, NIfTI and DICOM files: valid ones with a few
bytes or values changed, and anything. Every one must be read, or refused in one line, within
seconds. Prints a table of how many were, and writes it to docs/results/fuzz.md.
"""

import gzip
import io
import json
import platform
import resource
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import yaml
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    RLELossless,
    generate_uid,
)

from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.formats.picture import ImageError, ReadOptions
from a2bgan.data.formats.reading import read_mask, read_picture
from a2bgan.data.formats.volumes import forget_volumes, read_grid, read_volume
from a2bgan.data.holdout import Holdout
from a2bgan.data.manifest import read_manifest
from a2bgan.detection.audit.familiarity import GRID, Familiarity
from a2bgan.detection.decisions.calibration import Calibration, drift, read_calibration
from a2bgan.detection.decisions.selection import Candidate, read_candidates
from a2bgan.detection.trained_model import Pick, read_pick
from a2bgan.errors import InputError
from a2bgan.serving.reading_room.progress import training_progress
from a2bgan.training.checkpoint import list_ready_checkpoints, read_position
from a2bgan.training.config import load_config, preset_names, read_config
from a2bgan.training.run_folder import RunFolder
from result_page import script_parser, write_page

SECONDS = 10.0
"""Anything must be read or refused within this."""

MEMORY = 2**30
"""Bytes by which all that is read may raise the process's peak."""

LONGEST = 4100
"""Characters of a refusal."""

FIRST_BYTES = 700
"""Half of the changed bytes are among these: headers."""


@dataclass
class Tally:
    """What became of the things that were tried."""

    read: int = 0
    refused: int = 0
    slowest: float = 0.0
    failures: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True)
class Target:
    """Something that reads: what to try, and how; ``use`` raises InputError or ImageError alone."""

    strategy: st.SearchStrategy[Any]
    use: Callable[[Any, Path], object]


def attempt(target: Target, value: Any, folder: Path, tally: Tally) -> None:
    """Try one value. Raises AssertionError, or what ``use`` should not have raised."""
    begun = time.monotonic()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            target.use(value, folder)
        tally.read += 1
    except (InputError, ImageError) as error:
        tally.refused += 1
        text = str(error)
        assert text.isprintable() and 0 < len(text) <= LONGEST, text[:300]
    took = time.monotonic() - begun
    tally.slowest = max(tally.slowest, took)
    assert took < SECONDS, f"took {took:.1f} s"


def peak_memory() -> int:
    """The most resident memory that this process has had, in bytes."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


# What is tried.

NUMBERS = st.one_of(
    st.integers(-3, 3),
    st.integers(),
    st.sampled_from([2**31, 2**63, 2**64, -(2**63), 10**400, 10**4000]),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=20)),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def changed_bytes(draw: st.DrawFn, originals: list[bytes]) -> bytes:
    """A valid file with bytes changed, removed, repeated or cut off."""
    content = bytearray(draw(st.sampled_from(originals)))
    places = st.integers(0, min(FIRST_BYTES, len(content)) - 1) | st.integers(0, len(content) - 1)
    odd = st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]) | st.integers(0, 255)
    for place, value in draw(st.lists(st.tuples(places, odd), max_size=8)):
        content[place] = value
    if draw(st.integers(0, 7)) == 0:
        place, length = draw(places), draw(st.integers(1, 64))
        content[place:place] = content[place : place + length]
    if draw(st.integers(0, 7)) == 0:
        del content[draw(places) :]
    return bytes(content)


@st.composite
def changed_json(draw: st.DrawFn, original: Any) -> bytes:
    """A valid JSON value with some of what is in it replaced, left out or added; or any text."""
    if draw(st.integers(0, 9)) == 0:
        return draw(st.binary(max_size=60) | st.text(max_size=60).map(_utf8))
    value = json.loads(json.dumps(original))
    for _ in range(draw(st.integers(0, 3))):
        value = _change(draw, value)
    text = json.dumps(value)
    if draw(st.integers(0, 9)) == 0:
        text = text[: draw(st.integers(0, len(text)))]
    return text.encode()


def _utf8(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _change(draw: st.DrawFn, value: Any) -> Any:
    """One place in a JSON value, reached from its top, changed."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        if draw(st.integers(0, 9)) == 0:
            return {k: v for k, v in value.items() if k != key}
        return value | {key: _change(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _change(draw, value[place]), *value[place + 1 :]]
    return draw(VALUES)


CELLS = st.one_of(
    st.sampled_from(
        ["healthy", "mixed", "test", "0", "1", "a.png", "b/c.png", "../x", "/etc/passwd", "", "NaN",
         "volume.nii#axial-0003", "a.png\0", "PatientID", '"', "é", "\\", "a" * 300]
    ),
    st.text(max_size=12),
)  # fmt: skip
COLUMNS = st.sampled_from(
    ["path", "split", "label", "patient_id", "mask", "twin", "Modality", "path ", "PATH", "", "x"]
)


@st.composite
def manifests(draw: st.DrawFn) -> bytes:
    """Tables that look like manifests, in some encoding; or any bytes."""
    if draw(st.integers(0, 7)) == 0:
        return draw(st.binary(max_size=200))
    header = draw(st.permutations(["path", "split", "label"])) + draw(st.lists(COLUMNS, max_size=3))
    rows = draw(st.lists(st.lists(CELLS, min_size=1, max_size=7), max_size=5))
    good = [["a.png", "healthy", "0"], ["b.png", "mixed", ""]]
    separator, end = draw(st.sampled_from(",;\t|")), draw(st.sampled_from(["\n", "\r\n", "\r"]))
    table = [header, *(rows or good)]
    text = "".join(separator.join(cells) + end for cells in table)
    return text.encode(draw(st.sampled_from(["utf-8", "utf-8-sig", "utf-16"])), "surrogatepass")


@st.composite
def configurations(draw: st.DrawFn) -> bytes:
    """Configurations of the presets with something changed, as YAML; or any text."""
    if draw(st.integers(0, 3)) == 0:
        return draw(st.text("{}[]:,-&*!|>#'\"%@ \n\tab01.~", max_size=60)).encode()
    value = _change(draw, _change(draw, _preset(draw(st.sampled_from(preset_names())))))
    return yaml.safe_dump(value, allow_unicode=True).encode("utf-8", "replace")


@cache
def _preset(name: str) -> dict[str, Any]:
    values: dict[str, Any] = load_config(name).model_dump(mode="json")
    return values


SETTINGS = st.tuples(
    st.sampled_from(["data.size", "train.steps", "train.devices", "method.name", "method",
                     "data.slices", "method.adam_betas", "data", ""]) | st.text(".ab=", max_size=9),
    VALUES.map(lambda value: json.dumps(value)) | st.text(max_size=20),
).map("=".join)  # fmt: skip


# What valid files are changed.

PICK = Pick("step-00000006", "averaged", "mean", "aucp")


def _calibration() -> dict[str, Any]:
    rng = np.random.default_rng(0)
    scores = rng.random(6)
    familiar = Familiarity(rng.random((4, 2 * GRID * GRID), np.float32), np.sort(rng.random(4)))
    people = np.arange(6)
    found = Calibration(PICK, np.sort(scores), scores, scores, scores, people, 0.4, familiar)
    return found.as_dict()


SELECTION = {
    "pick": asdict(PICK), "aucp": 0.8, "standard_error": 0.1, "n_healthy": 9, "n_mixed": 9,
    "diseased_share": 0.4, "diseased_share_ci": [0.1, 0.7], "doubts": ["short"],
    "weights_sha256": "0" * 64,
}  # fmt: skip
CANDIDATE = asdict(Candidate(6, "step-00000006", "raw", "mean", 0.7, 0.1))
METRICS = {"step": 6, "seconds": 1.5, "d_adversarial": 0.3, "g_identity": 0.1}
SOURCE = {"root": "/nowhere", "sha256": "0" * 64, "where": "Modality=CR", "leaks": ["one"]}
PROGRESS = {"step": 6, "seconds": 1.5, "ready": True}


@cache
def _volumes() -> list[bytes]:
    values = np.random.default_rng(0).integers(0, 900, (9, 10, 11)).astype(np.int16)
    found = []
    for kind in (nib.Nifti1Image, nib.Nifti2Image):
        file = io.BytesIO()
        kind(values, np.diag([1.0, 1.5, 2.0, 1.0])).to_stream(file)
        found.append(file.getvalue())
    return [*found, gzip.compress(found[0])]


@cache
def _dicoms() -> list[bytes]:
    """Grey and colour, uncompressed, several frames, and run lengths in a sequence of items."""
    rng = np.random.default_rng(0)
    grey = rng.integers(0, 4096, (16, 18)).astype(np.uint16)
    colour = rng.integers(0, 256, (16, 18, 3)).astype(np.uint8)
    plain = [_dicom(grey), _dicom(colour), _dicom(grey, NumberOfFrames=2, WindowCenter="2000")]
    packed = _dicom(grey, compress=True)
    return [*plain, packed]


def _dicom(pixels: np.ndarray, compress: bool = False, **elements: Any) -> bytes:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPClassUID = DigitalXRayImageStorageForPresentation
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = generate_uid(
        None, ["x"]
    )
    dataset.PatientID, dataset.Modality = "P1", "DX"
    dataset.PixelSpacing, dataset.RescaleSlope, dataset.RescaleIntercept = [1, 1], "2", "-5"
    colour = pixels.ndim == 3
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    dataset.BitsAllocated = dataset.BitsStored = 8 * pixels.itemsize
    dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, 0
    dataset.PixelData = pixels.tobytes() * elements.get("NumberOfFrames", 1)
    for name, value in elements.items():
        setattr(dataset, name, value)
    if elements.get("WindowCenter"):
        dataset.WindowWidth = "100"
    if compress:
        dataset.compress(RLELossless, generate_instance_uid=False)
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()


# How it is read.


def _file(folder: Path, name: str, content: bytes) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _read_manifest(content: bytes, folder: Path) -> object:
    return read_manifest(_file(folder, "manifest.csv", content)).sha256


def _read_holdout(content: bytes, folder: Path) -> object:
    return Holdout.read(_file(folder, "holdout.csv", content))


def _read_config(content: bytes, folder: Path) -> object:
    return read_config(_file(folder, "config.yaml", content))


def _read_selection(content: bytes, folder: Path) -> object:
    _file(folder, "selection.json", content)
    return read_pick(RunFolder(folder))


def _read_calibration(content: bytes, folder: Path) -> None:
    _file(folder, "calibration.json", content)
    if (found := read_calibration(RunFolder(folder))) is not None:
        found.p_values(["a", "b"], np.array([0.1, 0.9]))
        found.unfamiliar(np.zeros((2, 1, 32, 32), np.uint8))
        some = np.linspace(0, 1, 25)
        drift(found, [str(k) for k in range(25)], some, some, some)


def _read_lines(content: bytes, folder: Path) -> None:
    """Logged numbers, and what was measured at checkpoints."""
    run = RunFolder(folder)
    _file(folder, "config.yaml", yaml.safe_dump(_preset("fast")).encode())
    lines = content + b"\n" + json.dumps(METRICS).encode() + b"\n"
    _file(folder, "metrics.jsonl", lines)
    if not run.samples.exists():
        run.samples.mkdir()
    json.dumps(training_progress(run), allow_nan=False)
    sum(value for line in run.metrics() for value in line.values())
    run.truncate_metrics(3)


def _read_candidates(content: bytes, folder: Path) -> object:
    _file(folder, "validation.jsonl", content)
    return read_candidates(RunFolder(folder))


def _read_source(content: bytes, folder: Path) -> None:
    run = RunFolder(folder)
    _file(folder, "manifest.json", content)
    _file(folder, "environment.json", content)
    _file(folder, "resources.json", content)
    run.environment()
    run.note_resources(1.0)
    run.manifest_where().lower()
    "".join(run.manifest_leaks())
    run.image_root()


def _read_progress(content: bytes, folder: Path) -> None:
    checkpoints = RunFolder(folder).checkpoints
    _file(folder, "checkpoints/step-00000006/progress.json", content)
    for checkpoint in list_ready_checkpoints(checkpoints):
        read_position(checkpoint)


def _read_volume(content: bytes, folder: Path) -> None:
    path = _file(folder, "volume.nii.gz", content)
    try:
        read_grid(path)
        read_volume(path).percentiles((1, 99))
    finally:
        forget_volumes()


def _read_dicom(content: bytes, folder: Path) -> None:
    path = _file(folder, "film.dcm", content)
    is_volume(path)
    try:
        read_picture(path, ReadOptions(10**6, "auto", "middle"))
    finally:
        read_mask(path, 10**6)


TARGETS = {
    "manifests": Target(manifests(), _read_manifest),
    "configurations": Target(configurations(), _read_config),
    "settings": Target(SETTINGS, lambda setting, folder: load_config("fast", None, [setting])),
    "held-out images": Target(
        manifests() | st.just(b"path,part\na.png,selection\n"), _read_holdout
    ),
    "selection.json": Target(changed_json(SELECTION), _read_selection),
    "calibration.json": Target(changed_json(_calibration()), _read_calibration),
    "validation.jsonl": Target(changed_json(CANDIDATE), _read_candidates),
    "metrics.jsonl": Target(changed_json(METRICS), _read_lines),
    "manifest.json, environment.json, resources.json": Target(changed_json(SOURCE), _read_source),
    "progress.json": Target(changed_json(PROGRESS), _read_progress),
    "NIfTI": Target(changed_bytes(_volumes()), _read_volume),
    "DICOM": Target(changed_bytes(_dicoms()), _read_dicom),
}
"""What is tried, by its name."""


def fuzz(target: Target, number: int, tally: Tally, examples: int, chosen: settings) -> None:
    """Try many. Raises what the first failure raised, in its simplest form."""
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as folder:

        @seed(number)
        @settings(chosen, max_examples=examples)
        @given(target.strategy)
        def run(value: Any) -> None:
            attempt(target, value, Path(folder), tally)

        run()


LONG = settings(
    deadline=None,
    database=None,
    derandomize=False,
    print_blob=False,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)


def main() -> None:
    parser = script_parser(__doc__, "docs/results/fuzz.md")
    parser.add_argument("--minutes", type=float, default=10)
    args = parser.parse_args()
    tallies = {name: Tally() for name in TARGETS}
    before = peak_memory()
    end = time.monotonic() + 60 * args.minutes
    number = 0
    while time.monotonic() < end:
        for name, target in TARGETS.items():
            try:
                fuzz(target, number, tallies[name], 200, LONG)
            except Exception as error:
                reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
                tallies[name].failures[reason] += 1
        number += 1
    rows = [
        f"| {name} | {tally.read + tally.refused + tally.failures.total()} | {tally.read} | "
        f"{tally.refused} | {tally.failures.total()} | {tally.slowest:.2f} |"
        for name, tally in tallies.items()
    ]
    failures = [f"- {name}: {reason}" for name, t in tallies.items() for reason in t.failures]
    lines = [
        "# Fuzzing everything that reads files",
        "",
        "Is every damaged or invented file read, or refused in one line within seconds?",
        "",
        f"`python benchmarks/fuzz.py --minutes {args.minutes:g}`",
        "",
        f"{platform.machine()}, Python {platform.python_version()}. Peak memory rose by "
        f"{(peak_memory() - before) / 2**20:.0f} MB.",
        "",
        "| what | tried | read | refused | failed | slowest, s |",
        "| --- | --- | --- | --- | --- | --- |",
        *rows,
        *(["", "Failures:", "", *failures] if failures else []),
    ]
    print(*lines, sep="\n")
    write_page(args.out, lines)


if __name__ == "__main__":
    main()
