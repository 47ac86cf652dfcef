"""Which images there are, which set each belongs to, and what else is known about it."""

import codecs
import csv
import hashlib
import io
import os
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from a2bgan.data.atomic_folder import write_atomically
from a2bgan.data.cache_folder import default_cache_dir
from a2bgan.data.image_search import images_below, others_below
from a2bgan.data.pseudonyms import pseudonym
from a2bgan.data.readers import dicom_of, is_dicom, is_hidden, is_image, is_volume
from a2bgan.data.slice_names import parse_slice, volume_of
from a2bgan.errors import InputError

SPLITS = ("healthy", "mixed", "test", "extra")
COLUMNS = ("path", "split", "label", "patient_id", "mask", "twin")
TAGS = ("view", "laterality", "manufacturer", "station", "age", "sex")
"""Columns about how an image was taken and of whom, which are written where any row has them."""
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

NOT_LISTED = ("manifest.csv", "dicomdir")
"""Files of a folder that are no images and are not expected to be."""
PHANTOM_FOLDER = "phantom-1-seed0"

FOLDER_LAYOUT = (
    "healthy/, mixed/ and, if there are test images, test/normal/, test/abnormal/ and test/mask/"
)


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
        """`patient_id`, "" when nobody knows whose image it is."""
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
            raise InputError(f"no split {_shown(name)}: use one of {', '.join(SPLITS)}")
        return tuple(row for row in self.rows if row.split == name)

    def counts(self) -> dict[str, int]:
        """How many rows each of SPLITS has."""
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


def open_data(source: str | Path, *, keep_identifiers: bool = False) -> Manifest:
    """Open a data set, however it is given; patients get pseudonyms unless `keep_identifiers`.

    source: a manifest (CSV), a folder with a manifest.csv in it, a folder with the sub-folders that
    `scan_folder` knows, or the name "phantom": generated phantoms, written below the cache folder
    the first time. A folder that is itself called phantom is opened as "./phantom".
    Raises InputError.
    """
    if source == "phantom":
        return read_manifest(_default_phantoms())
    path = Path(source)
    if os.path.isdir(path):
        inside = path / "manifest.csv"
        manifest = read_manifest(inside) if os.path.isfile(inside) else scan_folder(path)
    else:
        manifest = read_manifest(path)
    rows = (
        replace(row, patient_id=identify(row.path, row.known_patient, keep_identifiers) or row.name)
        for row in manifest.rows
    )
    return replace(manifest, rows=tuple(rows))


def identify(path: Path, given: str, keep_identifiers: bool = False) -> str:
    """Whose image it is: `given`, or else a DICOM file's PatientID; "" where nobody knows.

    This is where patients come in. From here on each is a pseudonym, the same in all that is
    written, unless `keep_identifiers`.
    """
    if not given and is_dicom(path := dicom_of(path)):
        from a2bgan.data.dicom import read_tags  # pydicom takes a while, and few need it

        given = "".join((read_tags(path, ["PatientID"]) or {}).get("PatientID", ())[:1])
    return given if keep_identifiers or not given else pseudonym(given)


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
                f"{_file_shown(manifest.root)}: no {name} images; training needs images {meaning} "
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
    file = _file_shown(csv_path)
    root = Path(os.path.abspath(csv_path.parent if root is None else root))
    lines = _csv_lines(_read_text(csv_path), file)
    _, header = next(lines, (0, []))
    columns = _column_positions(header, file)
    inside = _InsideFolder(root)
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
                f"{place}: path {_shown(row.name)} is already in row {row_of_path[row.path]}; "
                "list each image once"
            )
        row_of_path[row.path] = number
        rows.append(row)
    if not rows:
        raise InputError(f"{file}: no rows below the header; list one image a row")
    used = set(columns.values())
    unknown = [_shown(cell) for k, cell in enumerate(header) if k not in used and cell.strip()]
    said = (f"columns that are not used: {', '.join(unknown)}",) if unknown else ()
    return Manifest(tuple(rows), root, passed_over=said)


def scan_folder(folder: str | Path) -> Manifest:
    """Make a manifest of a folder with sub-folders for the sets.

    healthy/ and mixed/ hold those sets; test/normal/ and test/abnormal/ the test images, which get
    labels 0 and 1; test/mask/ lesion masks, each with the file stem of its test image. Sub-folders
    are searched too, see `images_below`. Every image is its own patient. Raises InputError.
    """
    root = Path(os.path.abspath(folder))
    file = _file_shown(folder)
    if not os.path.isdir(root):
        raise InputError(f"{file}: no such folder")
    inside = _InsideFolder(root)
    named = _sets_of(root)
    masks = _masks_by_stem(root, named.get("test"))
    rows: list[Row] = []
    for split, label in (("healthy", 0), ("mixed", None), ("test", None)):
        if split not in named:
            continue
        for name in _image_names(root, named[split]):
            place = f"{file}, {_shown(name)}"
            mask = None
            if split == "test":
                part = name.split("/")[1].lower()
                if part == "mask":
                    continue
                if part not in ("normal", "abnormal"):
                    raise InputError(f"{place}: move it into test/normal/ or test/abnormal/")
                label = int(part == "abnormal")
                mask = masks.pop(_stem(Path(name)), None)
            path = inside.resolve(name, place)
            mask_path = None if mask is None else inside.resolve(mask, place)
            rows.append(Row(name, path, split, label, name, mask_path, None))
    if not rows:
        raise InputError(
            f"{file}: {_what_is_there(root)} and no manifest.csv; expected {FOLDER_LAYOUT}"
        )
    _check_masks(masks, rows, file)
    known = {path for row in rows for path in (row.path, row.mask)}
    others = [
        path.relative_to(root).as_posix()
        for path in others_below(root, known)
        if path.name.lower() not in NOT_LISTED
    ]
    return Manifest(tuple(rows), root, passed_over=passed_over(others))


def passed_over(names: Sequence[str]) -> tuple[str, ...]:
    """A sentence about files in a folder that are not read as images; none without any."""
    if not names:
        return ()
    shown = ", ".join(map(_shown, sorted(names)[:3])) + (", ..." if len(names) > 3 else "")
    files = "1 file is" if len(names) == 1 else f"{len(names)} files are"
    return (f"{files} of no known image format and not read: {shown}",)


def _sets_of(root: Path) -> dict[str, str]:
    """The names, however written, of the sub-folders that hold the sets."""
    found: dict[str, str] = {}
    for entry in sorted(root.iterdir()):
        split = entry.name.lower()
        if split in ("healthy", "mixed", "test") and os.path.isdir(entry):
            if split in found:
                raise InputError(
                    f"{_file_shown(root)}: both {found[split]}/ and {entry.name}/; keep one"
                )
            found[split] = entry.name
    return found


def _what_is_there(root: Path) -> str:
    """A few words on the content of a folder that lacks the expected sub-folders."""
    inside = sorted(entry for entry in root.iterdir() if not is_hidden(entry.name))
    folders = [entry for entry in inside if os.path.isdir(entry)]
    below = [folder for folder in folders if _sets_of(folder)]
    if below:
        return f"one level too high: give {_file_shown(below[0])}, which has the sets;"
    if root.name.lower() in ("healthy", "mixed", "test"):
        return f"one level too low: give the folder above, {_file_shown(root.parent)};"
    images = sum(is_image(entry) for entry in inside)
    if images:
        return f"{images} images lie directly in the folder: none is in a set,"
    if folders:
        return f"no images in a set, but the folders {', '.join(f.name for f in folders[:4])}"
    return "no images"


def _read_text(csv_path: Path) -> str:
    file = _file_shown(csv_path)
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


def _parse_row(values: dict[str, str], place: str, inside: "_InsideFolder") -> Row:
    split, label = values.get("split", "").lower(), values.get("label", "").lower()
    name = inside.relative(values.get("path", "").replace("\\", "/"))
    if not name:
        raise InputError(f"{place}: path is empty; give the image's path")
    if split not in SPLITS:
        raise InputError(
            f"{place}: unknown split {_shown(values.get('split', ''))}; "
            f"use one of {', '.join(SPLITS)}"
        )
    if label not in LABELS:
        raise InputError(
            f"{place}: label {_shown(values.get('label', ''))}; use 0 (normal), 1 (abnormal) "
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


class _InsideFolder:
    """Turns relative names into absolute paths and refuses those that leave the folder."""

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
            raise InputError(f"{place}: path {_shown(name)} has a control character; rename it")
        # Python reads bytes that are no UTF-8 as surrogates, which no manifest can hold.
        if any(0xD800 <= ord(character) <= 0xDFFF for character in name):
            raise InputError(f"{place}: path {_shown(name)} is not UTF-8 text; rename it")
        if posixpath.isabs(name) or name[1:2] == ":":
            raise InputError(
                f"{place}: path {_shown(name)} is absolute; "
                "write it relative to the manifest's folder"
            )
        path = os.path.normpath(os.path.join(self._root, name))
        if not _is_below(path, self._root):
            raise InputError(
                f"{place}: path {_shown(name)} is outside the manifest's folder; "
                "move the image into it or the manifest above both"
            )
        if not _is_below(self._real_path(volume_of(path)), self._real_root):
            raise InputError(
                f"{place}: path {_shown(name)} is a link out of the manifest's folder; "
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


def _image_names(root: Path, sub: str) -> list[str]:
    """Relative names of the images below one sub-folder, sorted."""
    try:
        os.stat(root / sub)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{_file_shown(root / sub)}: cannot be read ({error.strerror})") from None
    return sorted(path.relative_to(root).as_posix() for path in images_below(root / sub))


def _stem(path: Path) -> str:
    """The file's name without its suffix, ".nii.gz" taken as one."""
    return path.name.removesuffix(".gz").removesuffix(".nii") if is_volume(path) else path.stem


def _masks_by_stem(root: Path, test: str | None) -> dict[str, str]:
    masks: dict[str, str] = {}
    for name in [] if test is None else _image_names(root, f"{test}/mask"):
        stem = _stem(Path(name))
        if stem in masks:
            raise InputError(
                f"{_file_shown(root)}: masks {_shown(masks[stem])} and {_shown(name)} "
                "have the same file stem; keep one"
            )
        masks[stem] = name
    return masks


def _check_masks(unused: dict[str, str], rows: Sequence[Row], file: str) -> None:
    """InputError for a mask without its image, or one that several images could claim."""
    for name in unused.values():
        raise InputError(
            f"{file}: mask {_shown(name)} has no test image with the same file stem; "
            "rename or remove it"
        )
    masked = {_stem(row.path): row.name for row in rows if row.mask is not None}
    for row in rows:
        stem = _stem(row.path)
        if row.split == "test" and row.mask is None and stem in masked:
            raise InputError(
                f"{file}: images {_shown(masked[stem])} and {_shown(row.name)} share the file "
                "stem of a mask; rename one or write a manifest.csv"
            )


def _default_phantoms() -> Path:
    """The manifest of the default phantoms, written first when they are not there yet."""
    folder = default_cache_dir() / PHANTOM_FOLDER
    manifest = folder / "manifest.csv"
    if manifest.is_file():
        return manifest
    # Generating takes a while and only "phantom" needs it.
    from a2bgan.data.phantom import write_phantoms

    try:
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{_file_shown(folder.parent)}: cannot create the cache folder ({error.strerror}); "
            "set A2BGAN_CACHE to a folder that can be written"
        ) from None
    try:
        write_phantoms(folder)
    except InputError:
        # The folder appears whole or not at all; another process may have been first.
        if not manifest.is_file():
            raise
    return manifest


def _file_shown(path: str | Path) -> str:
    return text if (text := str(path)).isprintable() else repr(text)


def _shown(value: object) -> str:
    """A value for a one-line message: quoted, escaped, not too long."""
    text = str(value)
    return repr(text if len(text) <= 200 else f"{text[:100]}...{text[-97:]}")
