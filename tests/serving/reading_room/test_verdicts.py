import csv
import io

from a2bgan.serving.reading_room.cases import Case
from a2bgan.serving.reading_room.verdicts import Verdicts


def test_of_an_export_only_names_are_as_they_are(tmp_path):
    verdicts = Verdicts(tmp_path / "verdicts.sqlite")
    verdicts.put("0" * 64, "normal", "+1 lesion")
    text = verdicts.as_csv([Case("-a.png", "=cmd()", "0" * 64, 0.5, "", 0.2)])
    verdicts.close()
    (row,) = csv.DictReader(io.StringIO(text))
    # The name is what `select --by labels` finds the image by.
    assert (row["path"], row["patient_id"], row["note"]) == ("-a.png", "'=cmd()", "'+1 lesion")
