"""Scores of very many images, in parts that several processes share and a later call goes on with.

Below the output folder:
    parts/plan.json          how many images, of which list and model, in parts of which size
    parts/NNNNNN.parquet     scores of one part, whole or not there
    parts/NNNNNN.lock        held by the process that makes the part
    parts/NNNNNN.again       how many of its images failed for reasons that may pass: a later call
                             makes the part again
    scores.parquet           all parts with p-values and flags, once all are there

A lock ends with its process, however that ends, so that another process takes the part over. A part
is put in place by one rename under its own name: it cannot come twice, and no image is in two.
Where the file system has no locks, two processes may make the same part.
"""

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from a2bgan.detection.decisions.calibration import Calibration, drift, intensities
from a2bgan.detection.inputs import Input
from a2bgan.detection.measures.conformal import p_values
from a2bgan.detection.patient_scores import DEFAULT_RULE
from a2bgan.detection.predict import Model, predict
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file, write_atomically
from a2bgan.report.score_tables import Written, is_unfamiliar
from a2bgan.report.written_names import escaped

LISTED_FAILURES = 1000


@dataclass(frozen=True, slots=True)
class Joined(Written):
    """The result of all parts together.

    again: how many of the failures have reasons that may pass; the next call tries those again.
    """

    again: int = 0


@dataclass(frozen=True, slots=True)
class Workers:
    """The number of this process, and how many there are.

    local: which of those on this machine; None where nothing started them together.
    """

    rank: int
    count: int
    local: int | None = None

    @classmethod
    def from_environment(cls) -> Self:
        """From RANK and WORLD_SIZE, which torchrun sets; the only one where they are not set.

        Raises InputError if they, or LOCAL_RANK, are no numbers that fit.
        """
        texts = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")]
        if texts[0] is None or texts[1] is None:
            return cls(0, 1)
        try:
            rank, count, local = (int(text or 0) for text in texts)
        except ValueError:
            rank, count, local = -1, 0, 0
        if not 0 <= rank < count:
            raise InputError(f"RANK={texts[0]}, WORLD_SIZE={texts[1]}: expected RANK < WORLD_SIZE")
        return cls(rank, count, local)

    def take_gpu(self) -> None:
        """Use another GPU than the other processes on this machine, as far as there are enough."""
        if self.local is None:
            return
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(self.local % torch.cuda.device_count())


def score_in_parts(
    model: Model,
    inputs: Sequence[Input],
    out: Path,
    workers: Workers,
    part_size: int,
    *,
    calibration: Calibration | None = None,
    rate: float = 0.05,
) -> Joined | None:
    """Score the parts that nobody else does; when all are there, write ``scores.parquet``.

    Parts of an earlier call with failures that may pass (`PassingImageError`) are made again.
    Returns what was written, or None where another process has written the table. Raises
    InputError if pyarrow is missing, the model scores volumes, ``out`` cannot be written, or it
    holds parts of other images or of another model.
    """
    if model.pick.patients != DEFAULT_RULE:
        raise InputError("this run scores patients by their volumes, which do not come in parts")
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise InputError("pyarrow is not installed; in the clone: pip install '.[scale]'") from None
    try:
        parts, started = out / "parts", time.time()
        parts.mkdir(parents=True, exist_ok=True)
        starts = range(0, len(inputs), part_size)
        _agree_on_plan(parts, inputs, model, part_size)
        files = [parts / f"{number:06d}.parquet" for number in range(len(starts))]

        def make(number: int, wait: bool) -> None:
            with _claimed(files[number].with_suffix(".lock"), wait) as mine:
                if mine and not _is_done(files[number], started):
                    chosen = inputs[starts[number] : starts[number] + part_size]
                    _write_part(files[number], *_score(model, chosen, calibration))

        # Own parts first, then what nobody has begun; then wait for those who are at work, and
        # take over the parts of those who are gone.
        numbers = sorted(range(len(starts)), key=lambda k: (k - workers.rank) % workers.count)
        for wait in (False, True):
            for number in numbers:
                if not _is_done(files[number], started):
                    make(number, wait)
        table = out / "scores.parquet"
        with _claimed(parts / "table.lock", wait=True):
            # A part may have been made again after another process joined them.
            newest = max((file.stat().st_mtime for file in files), default=started)
            if table.exists() and table.stat().st_mtime >= max(started, newest):
                return None
            return _write_table(files, inputs, table, calibration, rate)
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from None


def _agree_on_plan(parts: Path, inputs: Sequence[Input], model: Model, part_size: int) -> None:
    """Write the plan, or find that the one there is the same."""
    digest = hashlib.sha256()
    for item in inputs:
        digest.update(f"{item.name}\0{item.patient_id}\n".encode("utf-8", "backslashreplace"))
    plan = {
        "images": len(inputs),
        "part_size": part_size,
        "list_sha256": digest.hexdigest(),
        "pick": asdict(model.pick),
        "data": model.data.model_dump(mode="json"),
        "model": model.fingerprint,
    }
    text = json.dumps(plan, indent=2)
    file = parts / "plan.json"
    with _claimed(parts / "plan.lock", wait=True):
        if not file.exists():
            write_atomically(file, text)
        elif file.read_text() != text:
            raise InputError(
                f"{parts}: parts of other images, another model, runtime or --part-size, or of "
                "another --half are there; choose another --out"
            )


@contextmanager
def _claimed(file: Path, wait: bool = False) -> Iterator[bool]:
    """Hold a lock inside the block; yields False where it is taken. It ends with the process.

    Where the file system has no locks, every process goes on as if it held it.
    """
    with file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
            return
        except OSError:  # not every file system has locks
            pass
        yield True


def _is_done(file: Path, started: float) -> bool:
    """True where a part is there and need not be made again by a call that began then."""
    if not file.exists():
        return False
    try:
        return _again(file).stat().st_mtime >= started
    except FileNotFoundError:
        return True


def _again(file: Path) -> Path:
    return file.with_suffix(".again")


def _write_part(file: Path, table: Any, again: int) -> None:
    """Put a part in place, and the note that it is to be made again never after it."""
    note = _again(file)
    if again:
        write_atomically(note, f"{again}\n")
    _write_whole(file, table)
    if not again:
        note.unlink(missing_ok=True)


def _count_again(files: Iterable[Path]) -> int:
    """Sum of the numbers in the parts' notes."""
    count = 0
    for file in files:
        with suppress(FileNotFoundError):  # another process may make the part again meanwhile
            count += int(_again(file).read_text())
    return count


def _score(
    model: Model, inputs: Sequence[Input], calibration: Calibration | None
) -> tuple[Any, int]:
    """A table with a row for each input, in order; how many failures may pass."""
    import pyarrow as pa

    rows: dict[str, list[Any]] = {name: [] for name in _schema().names}
    again = 0
    for p in predict(model, inputs):
        again += p.passing
        mean = deviation = strange = None
        if p.image is not None:
            (mean,), (deviation,) = intensities(p.image[None])
            strange = is_unfamiliar(calibration, p.image)
        texts = (p.input.name, p.input.patient_id, p.error)
        name, patient, error = map(escaped, texts)
        found = (name, patient, p.score, mean, deviation, strange, error)
        for column, value in zip(rows.values(), found, strict=True):
            column.append(value)
    return pa.table(rows, schema=_schema()), again


def _schema() -> Any:
    import pyarrow as pa

    texts, numbers = ("path", "patient_id", "error"), ("score", "mean", "deviation")
    kinds = dict.fromkeys(texts, pa.string()) | dict.fromkeys(numbers, pa.float64())
    kinds["unfamiliar"] = pa.bool_()
    order = ("path", "patient_id", "score", "mean", "deviation", "unfamiliar", "error")
    return pa.schema([(name, kinds[name]) for name in order])


def _write_whole(file: Path, table: Any) -> None:
    import pyarrow.parquet as pq

    with atomic_file(file, private=True) as partial:
        pq.write_table(table, partial)


def _write_table(
    files: Sequence[Path],
    inputs: Sequence[Input],
    out: Path,
    calibration: Calibration | None,
    rate: float,
) -> Joined:
    """Join the parts, which are of all inputs in order, with p-values and flags, which depend on
    all images of a patient."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    table = pa.concat_tables([pq.read_table(file) for file in files])
    failed = table.filter(pc.is_null(table["score"])).slice(0, LISTED_FAILURES)
    failures = list(zip(failed["path"].to_pylist(), failed["error"].to_pylist(), strict=True))
    good = pc.is_valid(table["score"]).to_numpy()
    scored = table.filter(pa.array(good))
    scores, means, deviations = (scored[n].to_numpy() for n in ("score", "mean", "deviation"))
    number: dict[str, int] = {}
    people = (inputs[k].person for k in np.flatnonzero(good).tolist())
    who = np.fromiter((number.setdefault(person, len(number)) for person in people), np.int64)
    patients = len(number)
    flagged, sentences = 0, list[str]()
    if calibration is not None and len(scores):
        highest = np.full(patients, -np.inf)
        np.maximum.at(highest, who, scores)
        p_of_patient = p_values(calibration.patient_scores, highest)
        flagged = int((p_of_patient <= rate).sum())
        sentences = drift(calibration, who, scores, means, deviations)
        p = np.full(len(good), np.nan)
        p[good] = p_of_patient[who]
        table = table.append_column("p_value", pa.array(p, mask=~good))
        table = table.append_column("flagged", pa.array(p <= rate, mask=~good))
    _write_whole(out, table)
    again = _count_again(files)
    strange = table.filter(pc.fill_null(table["unfamiliar"], False))["path"].to_pylist()
    counted_as = "patients" if any(item.patient_id for item in inputs) else "images"
    return Joined(
        len(scores), failures, patients, flagged, sentences, None, strange, counted_as, again
    )
