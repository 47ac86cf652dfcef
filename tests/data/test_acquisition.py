"""What is known of how an image was taken: from columns, and from DICOM headers."""

from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.acquisition import acquisition_of, age_group, age_in_years, groups_of
from a2bgan.data.manifest import Row, read_manifest


@pytest.mark.parametrize(
    ("text", "years"),
    [("054Y", 54), ("018M", 1.5), ("54", 54), (" 54.5 ", 54.5), ("", None), ("old", None),
     ("999", None), ("-3", None)],
)  # fmt: skip
def test_ages(text, years):
    assert age_in_years(text) == (None if years is None else pytest.approx(years))


@pytest.mark.parametrize(
    ("text", "group"),
    [("017Y", "0 to 17"), ("18", "18 to 39"), ("59.9", "40 to 59"), ("81", "80+"), ("x", "")],
)
def test_groups_of_ages(text, group):
    assert age_group(text) == group


def test_columns_come_before_the_header(tmp_path, write_dicom):
    pixels = np.arange(64 * 64, dtype=np.uint16).reshape(64, 64)
    path = write_dicom(
        tmp_path / "a.dcm", pixels, ViewPosition="PA", PatientSex="F", PatientAge="061Y"
    )
    row = Row(
        "a.dcm", path, "test", None, "P1", None, None, (("view", "ap"), ("station", "Room 1"))
    )
    found = acquisition_of(row)
    assert found | {"manufacturer": ""} == {
        "view": "AP", "station": "ROOM 1", "sex": "F", "age": "061Y", "manufacturer": ""
    }  # fmt: skip


def test_groups_of_rows_from_a_manifest_and_back(tmp_path):
    manifest = tmp_path / "m.csv"
    manifest.write_text(
        "path,split,ViewPosition,Gender,age\na.png,test,PA,F,50\nb.png,test,,M,\nc.png,test,AP,F,7\n"
    )
    found = read_manifest(manifest)
    assert not found.passed_over
    assert groups_of(found.rows) == {
        "view": ["PA", "", "AP"], "age": ["40 to 59", "", "0 to 17"], "sex": ["F", "M", "F"]
    }  # fmt: skip
    found.write(tmp_path / "n.csv")
    assert (
        (tmp_path / "n.csv")
        .read_text()
        .startswith("path,split,label,patient_id,mask,twin,view,age,sex\n")
    )
    assert read_manifest(tmp_path / "n.csv") == found


def test_a_manifest_without_such_columns_is_written_as_before(tmp_path):
    (tmp_path / "m.csv").write_text("path,split\na.png,test\n")
    read_manifest(tmp_path / "m.csv").write(tmp_path / "n.csv")
    assert Path(tmp_path / "n.csv").read_text().splitlines()[0] == (
        "path,split,label,patient_id,mask,twin"
    )
