"""Scores of very many images, in parts that are whole or not there.

Below the output folder:
    list.parquet             the images, numbered by their rows
    plan.json                which list and model, in parts of which size
    parts/NNNNNNNN.parquet   scores of one part
    parts/NNNNNNNN.again     how many of its images failed for reasons that may pass: the next call
                             makes the part again
    scores/NNNNNNNN.parquet  the parts with p-values and flags, once all are there

A part is a range of the list, and its number names its file, which one rename puts in place: no
image comes twice, whoever makes the part, and however often. No step holds more in memory than some
parts and 16 bytes for each named patient.
"""

import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from a2bgan.data.formats.kinds import is_volume
from a2bgan.data.pseudonyms import identify
from a2bgan.detection.decisions.calibration import Calibration, drift, intensities
from a2bgan.detection.inputs import Input
from a2bgan.detection.measures.conformal import p_values
from a2bgan.detection.patient_scores import DEFAULT_PATIENT_SCORE
from a2bgan.detection.predict import Model, Prediction, predict
from a2bgan.errors import InputError, not_installed
from a2bgan.files.atomic import atomic_file, write_atomically
from a2bgan.files.building_folder import building_folder, replace_folder
from a2bgan.report.archive_list import ArchiveList, root_of, write_list
from a2bgan.report.score_tables import is_unfamiliar
from a2bgan.report.written_names import escaped

LARGEST_PART, PARTS = 1000, 100_000
"""Images in a part, at most, unless the list would then come in more parts than these."""

FEWEST_PARTS = 64
"""Parts that a short list comes in, so that several workers have something to do."""

NAMED = 1000
"""Failed and unfamiliar images that are named; the rest are counted."""

COMPARED = 20_000
"""Patients, drawn by their hash, whose images are compared with those of calibration."""

NOTES = "notes"
"""There are none: a list or scores that are half written are written anew."""

VOLUME = "a volume; `a2bgan predict` scores volumes"


@dataclass(frozen=True, slots=True)
class Archive:
    """An output folder and its plan.

    root: the folder that names in the list are relative to.
    fingerprint: of the model, see `a2bgan.detection.predict.Model`.
    """

    out: Path
    images: int
    part_size: int
    root: Path
    fingerprint: str
    keep_identifiers: bool

    @property
    def count(self) -> int:
        """Number of parts."""
        return -(-self.images // self.part_size)

    def file(self, number: int) -> Path:
        """The scores of a part."""
        return self.out / "parts" / f"{number:08d}.parquet"

    def missing(self) -> list[int]:
        """The numbers of the parts that are to be made."""
        found = {entry.name for entry in os.scandir(self.out / "parts")}
        return [
            k
            for k in range(self.count)
            if f"{k:08d}.parquet" not in found or f"{k:08d}.again" in found
        ]


def open_archive(
    source: str, out: Path, model: Model, *, keep_identifiers: bool = False
) -> Archive:
    """Write list and plan to ``out``, or find those of an earlier call there.

    The list is taken at the first call; images that come into a folder later are not in it. Raises
    InputError if ``source`` cannot be read, ``out`` cannot be written or holds another plan, the
    model scores volumes, or pyarrow is missing.
    """
    if model.pick.patients != DEFAULT_PATIENT_SCORE:
        raise InputError("this run scores patients by their volumes; `a2bgan predict` does that")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise not_installed("pyarrow", "scale") from None
    plan = {
        "source": os.path.abspath(source),
        "source_sha256": _digest(source),
        "keep_identifiers": keep_identifiers,
        "pick": asdict(model.pick),
        "data": model.data.model_dump(mode="json"),
        "model": model.fingerprint,
    }
    file = out / "plan.json"
    try:
        (out / "parts").mkdir(parents=True, exist_ok=True)
        with building_folder(out, "list", NOTES) as building:
            if not file.exists():
                images = write_list(source, building / "list.parquet")
                os.replace(building / "list.parquet", out / "list.parquet")
                small, large = -(-images // FEWEST_PARTS), -(-images // PARTS)
                size = max(min(small, LARGEST_PART), large)
                made = {"images": images, "part_size": size, "root": str(root_of(source))}
                write_atomically(file, json.dumps(plan | made, indent=2) + "\n")
        stored = json.loads(file.read_text())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None
    if {name: stored.get(name) for name in plan} != plan:
        raise InputError(
            f"{out}: scores of another list, or of another model, runtime or --half, are there; "
            "choose another --out"
        )
    return Archive(
        out,
        stored["images"],
        stored["part_size"],
        Path(stored["root"]),
        stored["model"],
        keep_identifiers,
    )


def _digest(source: str) -> str:
    """Digest of a list's content; "" for folders and patterns."""
    try:
        with open(source, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


class PartScorer:
    """Makes parts of an archive with one model."""

    def __init__(self, archive: Archive, model: Model, calibration: Calibration | None) -> None:
        self._archive, self._model, self._calibration = archive, model, calibration
        self._list = ArchiveList(archive.out / "list.parquet")

    def make(self, number: int) -> int:
        """Score a part unless it is there; returns the number of its images."""
        archive, file = self._archive, self._archive.file(number)
        start = number * archive.part_size
        rows = self._list.rows(start, start + archive.part_size)
        note = file.with_suffix(".again")
        if file.exists() and not note.exists():
            return len(rows)
        inputs = []
        for name, patient in rows:
            path = archive.root / name
            inputs.append(Input(name, path, identify(path, patient, archive.keep_identifiers)))
        table, again = _scores(self._model, inputs, self._calibration)
        # The note is there before the part, so that a part with failures never looks done.
        if again:
            write_atomically(note, f"{again}\n")
        _write(file, table)
        if not again:
            note.unlink(missing_ok=True)
        return len(rows)


def _scores(model: Model, inputs: list[Input], calibration: Calibration | None) -> tuple[Any, int]:
    """A table with a row for each input, in order; how many failures may pass."""
    import pyarrow as pa

    rows: dict[str, list[Any]] = {name: [] for name in _schema().names}
    again = 0
    for p in _predictions(model, inputs):
        again += p.passing
        mean = deviation = strange = None
        if p.image is not None:
            (mean,), (deviation,) = intensities(p.image[None])
            strange = is_unfamiliar(calibration, p.image)
        name, patient, error = map(escaped, (p.input.name, p.input.patient_id, p.error))
        found = (name, patient, p.score, mean, deviation, strange, error)
        for column, value in zip(rows.values(), found, strict=True):
            column.append(value)
    return pa.table(rows, schema=_schema()), again


def _predictions(model: Model, inputs: list[Input]) -> Iterator[Prediction]:
    volumes = [is_volume(item.path) for item in inputs]
    images = predict(model, (item for item, no in zip(inputs, volumes, strict=True) if not no))
    for item, is_one in zip(inputs, volumes, strict=True):
        yield Prediction(item, error=VOLUME) if is_one else next(images)


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"path": pa.string(), "patient_id": pa.string(), "score": pa.float64()}
    kinds |= {"mean": pa.float64(), "deviation": pa.float64(), "unfamiliar": pa.bool_()}
    return pa.schema([*kinds.items(), ("error", pa.string())])


def _write(file: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    with atomic_file(file, private=True) as partial:
        pq.write_table(table, partial)


@dataclass(slots=True)
class Result:
    """Counts and findings of a whole archive.

    scored: images with a score; failed: the others; again: those with reasons that may pass.
    failures: (name, reason) of the first `NAMED`; strange: names of the first unfamiliar images.
    patients, flagged: of the images with a score; images without a patient count as one each.
    drift: sentences on how the images differ from those of calibration.
    """

    scored: int = 0
    failed: int = 0
    again: int = 0
    patients: int = 0
    flagged: int = 0
    unfamiliar: int = 0
    failures: list[tuple[str, str]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    drift: list[str] = field(default_factory=list)
    counted_as: str = "images"


def finish(archive: Archive, calibration: Calibration | None, rate: float) -> Result:
    """Write ``scores/``, all parts with p-values and flags, which depend on all images of a
    patient. All parts must be there. Raises InputError if it cannot be written."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    result, best, compared = Result(), _BestScores(), _Drawn()
    files = [archive.file(k) for k in range(archive.count)]
    for file in files:
        table = pq.read_table(file, columns=["patient_id", "score"])
        table = table.filter(table["score"].is_valid())
        some = table.filter(pc.not_equal(table["patient_id"], ""))
        best.add(_hashes(some["patient_id"]), some["score"].to_numpy())
        result.patients += len(table) - len(some)
    best.merge()
    result.patients += len(best.keys)
    share = COMPARED / max(result.patients, 1)
    p_of_patient = None
    if calibration is not None:
        p_of_patient = p_values(calibration.patient_scores, best.scores)
        result.flagged = int((p_of_patient <= rate).sum())
    scores = archive.out / "scores"
    try:
        # A second call that ends now waits, and puts the same in place again.
        with building_folder(archive.out, "scores", NOTES) as partial:
            for file in files:
                table = pq.read_table(file)
                good = table["score"].is_valid().to_numpy()
                _count(result, table, good)
                if calibration is not None and p_of_patient is not None:
                    unnamed = pc.equal(table["patient_id"], "").to_numpy()
                    keys = _hashes(table["patient_id"])
                    p = p_values(calibration.patient_scores, table["score"].fill_null(0.0))
                    named = good & ~unnamed
                    p[named] = p_of_patient[np.searchsorted(best.keys, keys[named])]
                    result.flagged += int((p[good & unnamed] <= rate).sum())
                    table = table.append_column("p_value", pa.array(p, mask=~good))
                    table = table.append_column("flagged", pa.array(p <= rate, mask=~good))
                    keys[unnamed] = _hashes(table.filter(pa.array(unnamed))["path"])
                    compared.add(table, keys, good, share)
                pq.write_table(table, partial / file.name)
            replace_folder(partial, scores)
    except OSError as error:
        raise InputError(f"{scores}: cannot be written ({error.strerror or error})") from None
    if len(best.keys):
        result.counted_as = "patients"
    if calibration is not None:
        result.drift = compared.drift(calibration)
    for note in (archive.out / "parts").glob("*.again"):
        with suppress(FileNotFoundError):
            result.again += int(note.read_text())
    return result


def _count(result: Result, table: Any, good: NDArray[np.bool_]) -> None:
    import pyarrow as pa

    result.scored += int(good.sum())
    failed = table.filter(pa.array(~good))
    result.failed += len(failed)
    few = failed.slice(0, NAMED - len(result.failures))
    result.failures += zip(few["path"].to_pylist(), few["error"].to_pylist(), strict=True)
    strange = table.filter(table["unfamiliar"].fill_null(False))["path"]
    result.unfamiliar += len(strange)
    result.strange += strange.slice(0, NAMED - len(result.strange)).to_pylist()


def _hashes(texts: Any) -> NDArray[np.uint64]:
    """64 bits for each text, in which 100 million patients have a chance of 1 in 4,000 that any two
    coincide."""
    digests = (hashlib.blake2b(t.encode(), digest_size=8).digest() for t in texts.to_pylist())
    return np.frombuffer(bytearray(b"".join(digests)), np.uint64)


class _BestScores:
    """The highest score of each key, as arrays in the order of the keys."""

    def __init__(self) -> None:
        self.keys = np.empty(0, np.uint64)
        self.scores = np.empty(0, np.float64)
        self._waiting: list[tuple[NDArray[np.uint64], NDArray[np.float64]]] = []
        self._count = 0

    def add(self, keys: NDArray[np.uint64], scores: NDArray[np.float64]) -> None:
        self._waiting.append((keys, scores))
        self._count += len(keys)
        if self._count > max(2**20, len(self.keys)):
            self.merge()

    def merge(self) -> None:
        """Bring what was added into ``keys`` and ``scores``."""
        keys = np.concatenate([self.keys, *(keys for keys, _ in self._waiting)])
        scores = np.concatenate([self.scores, *(scores for _, scores in self._waiting)])
        self._waiting, self._count = [], 0
        order = np.argsort(keys, kind="stable")
        keys, scores = keys[order], scores[order]
        starts = np.flatnonzero(np.r_[True, keys[1:] != keys[:-1]]) if len(keys) else order
        self.keys = keys[starts]
        self.scores = np.maximum.reduceat(scores, starts) if len(keys) else scores


class _Drawn:
    """Images of about `COMPARED` patients, the same ones at every call."""

    def __init__(self) -> None:
        self._found: list[NDArray[np.float64]] = []
        self._who: list[NDArray[np.uint64]] = []

    def add(
        self, table: Any, who: NDArray[np.uint64], good: NDArray[np.bool_], share: float
    ) -> None:
        """Take the images of a ``share`` of all patients."""
        limit = np.uint64(min(share * 2.0**64, 2.0**64 - 2**12))
        rows = np.flatnonzero(good & (who <= limit))
        few = table.take(rows)
        self._found.append(np.stack([few[n].to_numpy() for n in ("score", "mean", "deviation")]))
        self._who.append(who[rows])

    def drift(self, calibration: Calibration) -> list[str]:
        """See `calibration.drift`."""
        if not self._who or not sum(map(len, self._who)):
            return []
        scores, means, deviations = np.concatenate(self._found, axis=1)
        return drift(calibration, np.concatenate(self._who), scores, means, deviations)
