import csv

from a2bgan.data.manifest import Row
from a2bgan.report.case_names import CaseNames


def test_a_key_is_whole_for_its_owner_alone_and_no_formula(tmp_path):
    rows = [
        Row(name, tmp_path / name, "test", None, patient, None, None)
        for name, patient in (("=a.png", "-7"), ("b.png", "ann"), ("b2.png", "ann"))
    ]
    file = tmp_path / "b-key.csv"
    file.write_text("an old key")
    file.chmod(0o644)
    names = CaseNames(rows, show_ids=False)
    with file.open() as before:
        names.write_key(file)
        assert before.read() == "an old key"
    assert file.stat().st_mode & 0o777 == 0o600
    with file.open(newline="") as opened:
        key = {row["name"]: (row["patient_id"], row["path"]) for row in csv.DictReader(opened)}
    assert sorted(key.values()) == [("'-7", "'=a.png"), ("ann", "b.png"), ("ann", "b2.png")]
    assert key[names[rows[2]]] == ("ann", "b2.png")
    assert list(tmp_path.iterdir()) == [file]
