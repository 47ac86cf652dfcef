"""The images of an archive as a list on disk, of which a process holds no more than it scores."""

import csv
import glob
import os
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from a2bgan.data.formats.image_search import images_below
from a2bgan.errors import InputError
from a2bgan.files.atomic import atomic_file

ROWS = 10_000
"""Rows of the list that are read together."""

Row = tuple[str, str]
"""Name of an image, as the list or the folder has it, and patient, "" if unknown."""


def root_of(source: str) -> Path:
    """The folder that the names in a source are relative to."""
    path = Path(source)
    if path.is_dir():
        return path.absolute()
    return Path.cwd() if _is_pattern(source) else path.parent.absolute()


def write_list(source: str, file: Path) -> int:
    """Write the list of a source as Parquet and return how many images there are.

    source: a list (.csv or .parquet, with the column path and, where patients are known,
        patient_id), a folder, or a pattern of such lists or of images, such as "lists/*.parquet".

    Raises InputError if there are none, or the source cannot be read.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Names of files may be no UTF-8.
    schema = pa.schema([("name", pa.binary()), ("patient_id", pa.string())])
    count = 0
    try:
        with atomic_file(file, private=True) as partial, pq.ParquetWriter(partial, schema) as out:
            rows = _rows(source)
            while some := list(islice(rows, ROWS)):
                if any(not name for name, _ in some):
                    raise InputError(f"{source}: a row without a path")
                names = [os.fsencode(name) for name, _ in some]
                out.write_table(pa.table([names, [who for _, who in some]], schema=schema))
                count += len(some)
            if not count:
                raise InputError(f"{source}: no images in it")
    except pa.ArrowException as error:
        raise InputError(f"{source}: not readable ({' '.join(str(error).split())[:200]})") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{source}: not readable as a table in UTF-8") from None
    return count


class ArchiveList:
    """Rows of a list that `write_list` wrote, read as they are asked for."""

    def __init__(self, file: Path) -> None:
        import pyarrow.parquet as pq

        self._file: Any = pq.ParquetFile(file)

    def rows(self, start: int, stop: int) -> list[Row]:
        """The rows from ``start`` to before ``stop``, or to the end."""
        stop = min(stop, self._file.metadata.num_rows)
        first, last = start // ROWS, (stop - 1) // ROWS
        table = self._file.read_row_groups(list(range(first, last + 1)), use_threads=False)
        table = table.slice(start - first * ROWS, stop - start)
        names = map(os.fsdecode, table["name"].to_pylist())
        return list(zip(names, table["patient_id"].to_pylist(), strict=True))


def _rows(source: str) -> Iterator[Row]:
    path = Path(source)
    if path.is_dir():
        for image in sorted(images_below(path)):
            yield str(image.relative_to(path)), ""
    elif _is_pattern(source):
        for name in glob.iglob(source, recursive=True):
            read = _TABLES.get(os.path.splitext(name)[1].lower())
            if read is not None:
                folder = os.path.dirname(name)
                yield from ((os.path.join(folder, n), who) for n, who in read(Path(name)))
            elif os.path.isfile(name):
                yield name, ""
    elif path.suffix.lower() == ".csv":
        yield from _of_csv(path)
    elif path.suffix.lower() == ".parquet":
        yield from _of_parquet(path)
    else:
        raise InputError(f"{source}: no list (.csv, .parquet), folder or pattern of images")


def _is_pattern(source: str) -> bool:
    return not os.path.lexists(source) and glob.has_magic(source)


def _of_csv(path: Path) -> Iterator[Row]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            if "path" not in (table.fieldnames or ()):
                raise InputError(f"{path}: no column path")
            for row in table:
                yield row["path"], row.get("patient_id") or ""
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror})") from None


def _of_parquet(path: Path) -> Iterator[Row]:
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
    except OSError as error:
        raise InputError(f"{path}: not readable ({error.strerror or error})") from None
    columns = [name for name in ("path", "patient_id") if name in file.schema_arrow.names]
    if "path" not in columns:
        raise InputError(f"{path}: no column path")
    for batch in file.iter_batches(ROWS, columns=columns):
        names = batch["path"].to_pylist()
        known = batch["patient_id"].to_pylist() if len(columns) > 1 else [""] * len(names)
        yield from zip(names, (str(who or "") for who in known), strict=True)


_TABLES = {".csv": _of_csv, ".parquet": _of_parquet}
"""Readers of lists by suffix."""
