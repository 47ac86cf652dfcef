"""The images of a data set: which set each belongs to, and what else is known about it."""

import codecs
import csv
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from a2bgan.data.formats.slice_names import parse_slice, volume_of
from a2bgan.errors import InputError
from a2bgan.files.atomic import write_atomically

SPLITS = ("healthy", "mixed", "test", "extra")
COLUMNS = ("path", "split", "label", "patient_id", "mask", "twin")
TAGS = {
    "view": ("ViewPosition",),
    "laterality": ("ImageLaterality", "Laterality"),
    "manufacturer": ("Manufacturer",),
    "station": ("StationName",),
    "age": ("PatientAge",),
    "sex": ("PatientSex",),
}
"""Columns about how an image was taken and of whom, which are written where any row has them, and
the DICOM keywords of each, the first of which counts."""
LABELS = {"": None, "0": 0, "1": 1, "0.0": 0, "1.0": 1, "no": 0, "yes": 1, "false": 0, "true": 1}

OTHER_NAMES = {
    "patient_id": ("patientid", "patient", "subject", "subject_id", "subjectid"),
    "path": ("image", "file", "filename", "file_name"),
    "view": ("viewposition", "view_position"),
    "laterality": ("imagelaterality", "image_laterality"),
    "station": ("stationname", "station_name"),
    "age": ("patientage", "patient_age"),
    "sex": ("patientsex", "patient_sex", "gender"),
}
"""Names of columns that other programs write, by the name they have here."""

SEPARATORS = ",;\t"

SPREADSHEETS = (b"PK\3\4", b"\xd0\xcf\x11\xe0")
"""First bytes of .xlsx and .ods, and of .xls files."""


@dataclass(frozen=True, slots=True)
class Row:
    """One image, or a volume before `a2bgan.data.volume_rows` makes slices of it.

    name: path as written in the manifest, with forward slashes, relative to its folder.
    path: the same as an absolute path.
    split: one of SPLITS: known healthy (B), mixed (A), test, extra (used for nothing).
    label: 1 abnormal, 0 normal, None unknown. In the mixed set it is there for analysis alone:
        training and model selection must not read it.
    patient_id: a pseudonym, see `identify`; when nobody knows `name`, of a slice its volume's.
    mask: absolute path of the lesion mask, of test images.
    twin: absolute path of the same picture without its lesion, which only phantoms have.
    tags: those of TAGS that the manifest says, with their values. They are for the audits of
        shortcuts and for measures by group alone.
    """

    name: str
    path: Path
    split: str
    label: int | None
    patient_id: str
    mask: Path | None
    twin: Path | None
    tags: tuple[tuple[str, str], ...] = ()

    @property
    def known_patient(self) -> str:
        """`patient_id`, "" where the patient is unknown."""
        return "" if self.patient_id == self.name else self.patient_id

    @property
    def named_patient(self) -> str:
        """`known_patient`; "" also for a slice of which only the volume is known."""
        return "" if self.patient_id == volume_of(self.name) else self.known_patient


@dataclass(frozen=True)
class Manifest:
    """The rows of a data set, the folder its paths are relative to, and the DICOM tags that rows
    had to have, as `TagFilter.parse` reads them ("" for any).

    passed_over: what was given and is not used, a sentence for each kind.
    """

    rows: tuple[Row, ...]
    root: Path
    where: str = ""
    passed_over: tuple[str, ...] = field(default=(), compare=False)

    def split(self, name: str) -> tuple[Row, ...]:
        """The rows of one of SPLITS, in order; InputError for another name."""
        if name not in SPLITS:
            raise InputError(f"no split {quoted(name)}: use one of {', '.join(SPLITS)}")
        return tuple(row for row in self.rows if row.split == name)

    def counts(self) -> dict[str, int]:
        """Number of rows of each of SPLITS."""
        return {name: len(self.split(name)) for name in SPLITS}

    def write(self, path: Path) -> None:
        """Write the CSV file. Its paths are relative to `root`, wherever the file is put."""
        try:
            write_atomically(Path(path), self._csv_text)
        except OSError as error:
            raise InputError(f"{path}: cannot be written ({error.strerror})") from None

    @property
    def sha256(self) -> str:
        """Digest of the canonical CSV text: equal for equal rows, wherever the folder lies."""
        return hashlib.sha256(self._csv_text.encode("utf-8")).hexdigest()

    @cached_property
    def _csv_text(self) -> str:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        present = {name for row in self.rows for name, _ in row.tags}
        tags = [name for name in TAGS if name in present]
        writer.writerow((*COLUMNS, *tags))
        for row in self.rows:
            known = dict(row.tags)
            writer.writerow(
                (
                    row.name,
                    row.split,
                    "" if row.label is None else row.label,
                    row.known_patient,
                    self._relative(row.mask),
                    self._relative(row.twin),
                    *(known.get(name, "") for name in tags),
                )
            )
        return text.getvalue()

    def _relative(self, path: Path | None) -> str:
        return "" if path is None else path.relative_to(self.root).as_posix()


def counted_as(rows: Sequence[Row]) -> str:
    """Name what intervals and rates count: "patients", or else what stands for them, and why."""
    if any(row.named_patient for row in rows):
        return "patients"
    slices = any(parse_slice(row.name) is not None for row in rows)
    return f"{'volumes' if slices else 'images'}, as no patient ids are known"


def require_training_sets(manifest: Manifest) -> None:
    """InputError unless there are both healthy and mixed rows, which training needs."""
    counts = manifest.counts()
    for name, meaning in (("healthy", "known to be healthy"), ("mixed", "nobody has annotated")):
        if not counts[name]:
            raise InputError(
                f"{shown_path(manifest.root)}: no {name} images; training needs images {meaning} "
                f"with split {name} in the manifest or in the folder {name}/"
            )


def read_manifest(csv_path: str | Path, root: Path | None = None) -> Manifest:
    """Read a manifest: CSV with a header; `path` and `split` required.

    Optional columns: label (0, 1, yes, no or empty), patient_id, mask, twin and those of TAGS.
    Columns and splits may be in capitals, columns be separated by commas, semicolons or tabs, the
    text be UTF-8 or UTF-16.
    Paths are relative to `root`, by default the manifest's folder, or absolute below it, and must
    stay inside it, links included. Image files need not exist: a missing one is reported when it is
    read. Raises InputError, naming file and row (the header is row 1).
    """
    csv_path = Path(csv_path)
    file = shown_path(csv_path)
    root = Path(os.path.abspath(csv_path.parent if root is None else root))
    lines = _csv_lines(_read_text(csv_path), file)
    _, header = next(lines, (0, []))
    columns = _column_positions(header, file)
    inside = InsideFolder(root)
    rows: list[Row] = []
    row_of_path: dict[Path, int] = {}
    for number, cells in lines:
        place = f"{file}, row {number}"
        if len(cells) > len(header):
            raise InputError(
                f"{place}: {len(cells)} fields where the header has {len(header)}; "
                "put values that contain a comma in double quotes"
            )
        values = {name: cells[k].strip() for name, k in columns.items() if k < len(cells)}
        row = _parse_row(values, place, inside)
        if row.path in row_of_path:
            raise InputError(
                f"{place}: path {quoted(row.name)} is already in row {row_of_path[row.path]}; "
                "list each image once"
            )
        row_of_path[row.path] = number
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: no rows below the header; list one image a row")
    used = set(columns.values())
    unknown = [quoted(cell) for k, cell in enumerate(header) if k not in used and cell.strip()]
    unused = (f"columns that are not used: {', '.join(unknown)}",) if unknown else ()
    return Manifest(tuple(rows), root, passed_over=unused)


class InsideFolder:
    """A folder that turns names below it into absolute paths and refuses those that leave it."""

    def __init__(self, root: Path) -> None:
        self._root = str(root)
        self._real_root = os.path.realpath(root)
        # Resolving links costs several system calls a path; most images share few folders.
        self._real_folders: dict[str, str] = {}

    def relative(self, name: str) -> str:
        """An absolute name below the folder relative to it; any other as it is."""
        return name[len(self._root) :].lstrip("/") if _is_below(name, self._root) else name

    def resolve(self, name: str, place: str) -> Path:
        """The absolute path of `name`; InputError, starting with `place`, when it is outside."""
        if any(ord(character) < 32 or ord(character) == 127 for character in name):
            raise InputError(f"{place}: path {quoted(name)} has a control character; rename it")
        # Python reads bytes that are no UTF-8 as surrogates, which no manifest can hold.
        if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise InputError(f"{place}: path {quoted(name)} is not UTF-8 text; rename it")
        if posixpath.isabs(name) or name[1:2] == ":":
            raise InputError(
                f"{place}: path {quoted(name)} is absolute; "
                "write it relative to the manifest's folder"
            )
        path = os.path.normpath(os.path.join(self._root, name))
        if not _is_below(path, self._root):
            raise InputError(
                f"{place}: path {quoted(name)} is outside the manifest's folder; "
                "move the image into it or the manifest above both"
            )
        if not _is_below(self._real_path(volume_of(path)), self._real_root):
            raise InputError(
                f"{place}: path {quoted(name)} is a link out of the manifest's folder; "
                "copy the image into the folder"
            )
        return Path(path)

    def _real_path(self, path: str) -> str:
        folder, base = os.path.split(path)
        if folder not in self._real_folders:
            self._real_folders[folder] = os.path.realpath(folder)
        real = os.path.join(self._real_folders[folder], base)
        return os.path.realpath(real) if os.path.islink(real) else real


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(folder.rstrip(os.sep) + os.sep)


def shown_path(path: str | Path) -> str:
    """A path for a one-line message, escaped where it has control characters."""
    return text if (text := str(path)).isprintable() else repr(text)


def quoted(value: object) -> str:
    """A value for a one-line message: quoted, escaped, not too long."""
    text = str(value)
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-97:]}")


def _read_text(csv_path: Path) -> str:
    file = shown_path(csv_path)
    try:
        data = csv_path.read_bytes()
    except IsADirectoryError:
        raise InputError(f"{file}: a folder, not a manifest; give a CSV file") from None
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(f"{file}: no such file or folder") from None
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise InputError(f"{file}: not a valid file name") from None
    if not data.strip():
        raise InputError(f"{file}: empty file; a manifest has the columns path and split")
    if data.startswith(SPREADSHEETS):
        raise InputError(f"{file}: a spreadsheet; save it as CSV")
    # Spreadsheets write UTF-16 with a byte-order mark, or put one before UTF-8.
    encoding = "utf-16" if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text; save the manifest as CSV in UTF-8") from None


def _csv_lines(text: str, file: str) -> Iterator[tuple[int, list[str]]]:
    header = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    number = 0
    try:
        for cells in reader:
            # A quoted field can span lines; a row is named by its first one.
            number, first = reader.line_num, number + 1
            if any(cell.strip() for cell in cells):
                yield first, cells
    except csv.Error as error:
        raise InputError(f"{file}, row {number + 1}: not valid CSV ({error})") from None


def _column_positions(header: Sequence[str], file: str) -> dict[str, int]:
    names = [cell.strip().lower() for cell in header]
    for name, others in OTHER_NAMES.items():
        if name not in names:
            names = [name if cell in others else cell for cell in names]
    for name in (*COLUMNS, *TAGS):
        if names.count(name) > 1:
            raise InputError(f"{file}, row 1: column {name} appears twice; remove one")
    missing = [name for name in ("path", "split") if name not in names]
    if missing:
        wrong_separator = len(names) == 1 and "|" in names[0]
        fix = "separate columns by commas" if wrong_separator else "add them to the header"
        raise InputError(f"{file}, row 1: missing column {' and '.join(missing)}; {fix}")
    return {name: names.index(name) for name in (*COLUMNS, *TAGS) if name in names}


def _parse_row(values: dict[str, str], place: str, inside: "InsideFolder") -> Row:
    split, label = values.get("split", "").lower(), values.get("label", "").lower()
    name = inside.relative(values.get("path", "").replace("\\", "/"))
    if not name:
        raise InputError(f"{place}: path is empty; give the image's path")
    if split not in SPLITS:
        raise InputError(
            f"{place}: unknown split {quoted(values.get('split', ''))}; "
            f"use one of {', '.join(SPLITS)}"
        )
    if label not in LABELS:
        raise InputError(
            f"{place}: label {quoted(values.get('label', ''))}; use 0 (normal), 1 (abnormal) "
            "or leave it empty"
        )
    others: dict[str, Path | None] = {}
    for column in ("mask", "twin"):
        other = inside.relative(values.get(column, "").replace("\\", "/"))
        others[column] = inside.resolve(other, place) if other else None
    return Row(
        name=name,
        path=inside.resolve(name, place),
        split=split,
        label=LABELS[label],
        patient_id=values.get("patient_id", "") or volume_of(name),
        mask=others["mask"],
        twin=others["twin"],
        tags=tuple((name, value) for name in TAGS if (value := values.get(name, ""))),
    )
