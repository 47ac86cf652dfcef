"""Names for the images that a report shows, and the key that says whose they are."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from a2bgan.data.manifest import Row
from a2bgan.files.atomic import write_atomically
from a2bgan.report.written_names import escaped, no_formula

_KEY_COLUMNS = ("name", "patient_id", "path")


class CaseNames:
    """Names for the images of rows that say nothing of the patient."""

    def __init__(self, rows: Sequence[Row], show_ids: bool) -> None:
        patients = sorted({row.patient_id for row in rows})
        # Not in the order of the identifiers, which would say something of them.
        order = np.random.default_rng(0).permutation(len(patients))
        number = {patients[i]: k + 1 for k, i in enumerate(order)}
        count: dict[str, int] = {}
        self._names: dict[str, str] = {}
        self._rows = rows
        for row in rows:
            count[row.patient_id] = count.get(row.patient_id, 0) + 1
            name = f"patient {number[row.patient_id]}"
            if count[row.patient_id] > 1:
                name += f", image {count[row.patient_id]}"
            self._names[row.name] = row.patient_id if show_ids else name

    def __getitem__(self, row: Row) -> str:
        return self._names[row.name]

    def write_key(self, path: Path) -> None:
        """Write whose image each is, whole or not at all, readable by the owner. Raises OSError."""
        text = io.StringIO()
        table = csv.writer(text, lineterminator="\n")
        table.writerow(_KEY_COLUMNS)
        for row in self._rows:
            cells = (self._names[row.name], row.patient_id, row.name)
            table.writerow([no_formula(escaped(cell)) for cell in cells])
        write_atomically(path, text.getvalue(), private=True)
