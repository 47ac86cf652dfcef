"""Manifests: what they hold, their round trip, and one clear line for each mistake."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.folder_layout import scan_folder
from a2bgan.data.manifest import Manifest, Row, read_manifest, require_training_sets
from a2bgan.data.open_data import open_data
from a2bgan.errors import InputError


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str | bytes], Path]:
    def write_csv(content: str | bytes) -> Path:
        path = tmp_path / "data.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write_csv


def make_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(path)


def test_rows_hold_what_the_file_says(write: Callable[[str], Path], tmp_path: Path) -> None:
    path = write(
        "note,Path,split,label,patient_id,mask,twin\n"
        "x,a/1.png,healthy,0,p1,,\n"
        "\n"
        'y,"a/2, left.png",mixed,,,,\n'
        "z,b\\3.png,test,1,p3,m/3.png,t/3.png\n"
    )
    manifest = read_manifest(path)
    assert manifest.root == tmp_path
    assert manifest.rows == (
        Row("a/1.png", tmp_path / "a/1.png", "healthy", 0, "p1", None, None),
        Row(
            "a/2, left.png", tmp_path / "a/2, left.png", "mixed", None, "a/2, left.png", None, None
        ),
        Row(
            "b/3.png",
            tmp_path / "b/3.png",
            "test",
            1,
            "p3",
            tmp_path / "m/3.png",
            tmp_path / "t/3.png",
        ),
    )
    assert manifest.counts() == {"healthy": 1, "mixed": 1, "test": 1, "extra": 0}
    assert manifest.split("mixed") == manifest.rows[1:2]
    with pytest.raises(ValueError, match="one of healthy, mixed, test, extra"):
        manifest.split("train")


def test_spreadsheet_exports_are_read(write: Callable[[bytes], Path]) -> None:
    content = "\ufeffpath,split,patient_id\r\nbild_ä.png,healthy, 007 \r\n"
    (row,) = read_manifest(write(content.encode("utf-8"))).rows
    assert (row.name, row.patient_id) == ("bild_ä.png", "007")


def test_round_trip(tiny_set: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_set / "manifest.csv")
    manifest.write(tiny_set / "again.csv")
    again = read_manifest(tiny_set / "again.csv")
    assert again == manifest
    assert again.sha256 == manifest.sha256
    moved = tmp_path / "moved"
    tiny_set.rename(moved)
    assert read_manifest(moved / "again.csv").sha256 == manifest.sha256
    assert Manifest(manifest.rows[1:], manifest.root).sha256 != manifest.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "empty file"),
        ("\n\n", "empty file"),
        ("path,split\n", "no rows below the header"),
        ("scan,split\na.png,mixed\n", "row 1: missing column path; add"),
        ("scan,label\na.png,1\n", "row 1: missing column path and split; add"),
        ("path|split\na.png|mixed\n", "row 1: missing column path and split; separate"),
        ("path,split,path\na,mixed,b\n", "row 1: column path appears twice"),
        ("path,split\na.png,mixed\nb.png,train\n", "row 3: unknown split 'train'; use one of"),
        ("path,split\n\n\na.png,\n", "row 4: unknown split ''"),
        ('path,split,n\na,mixed,"x\ny"\nb,foo,\n', "row 4: unknown split 'foo'"),
        ("path,split\n,mixed\n", "row 2: path is empty"),
        ("path,split,label\na.png,test,2\n", "row 2: label '2'; use 0"),
        ("path,split,label\na.png,test,Maybe\n", "row 2: label 'Maybe'; use 0"),
        ("path,split\n/etc/a.png,mixed\n", "row 2: path '/etc/a.png' is absolute"),
        ("path,split\nC:\\a.png,mixed\n", "row 2: path 'C:/a.png' is absolute"),
        ("path,split\na/../../b.png,mixed\n", "row 2: path 'a/../../b.png' is outside"),
        ("path,split\n.,mixed\n", "row 2: path '.' is outside"),
        ("path,split,mask\na.png,test,../m.png\n", "row 2: path '../m.png' is outside"),
        ("path,split,twin\na.png,test,/m.png\n", "row 2: path '/m.png' is absolute"),
        ("path,split\na.png,mixed\na.png,test\n", "row 3: path 'a.png' is already in row 2"),
        ("path,split\na/b.png,mixed\n./a//b.png,test\n", "path './a//b.png' is already in row 2"),
        ("path,split\na,b.png,mixed\n", "row 2: 3 fields where the header has 2; put"),
        ('path,split\n"a.png,mixed\n', "row 2: not valid CSV"),
        ('path,split\n"a\nb.png",mixed\n', "row 2: path 'a\\nb.png' has a control character"),
        ("path,split\na\0.png,mixed\n", "row 2: "),
        ("path,split\nbild_ä.png,mixed\n".encode("latin-1"), "not UTF-8 text; save"),
        (b"PK\3\4 xlsx", "a spreadsheet; save it as CSV"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "not UTF-8 text; save"),
    ],
)
def test_mistakes_are_named_in_one_line(
    write: Callable[[str | bytes], Path], content: str | bytes, message: str
) -> None:
    path = write(content)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    text = str(caught.value)
    assert text.startswith(str(path))
    assert message in text
    assert len(text.splitlines()) == 1


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.csv: no such file or folder"):
        open_data(tmp_path / "absent.csv")
    with pytest.raises(InputError, match="a folder, not a manifest"):
        read_manifest(tmp_path)
    with pytest.raises(InputError, match="not a valid file name"):
        read_manifest("a\0.csv")
    with pytest.raises(InputError, match=r"no images and no manifest\.csv; expected healthy/"):
        open_data(tmp_path)
    with pytest.raises(InputError, match="no such folder"):
        scan_folder(tmp_path / "absent")


@pytest.mark.parametrize(
    ("content", "encoding"),
    [
        ("path,split,label,patient_id\na.png,test,1,p7\n", "utf-8"),
        ("Path;Split;Label;PatientID\na.png;Test;1.0;p7\n", "utf-8-sig"),
        ("FileName\tSPLIT\tlabel\tsubject\na.png\ttest\tYes\tp7\n", "utf-16"),
        ("image,split,label,Patient,site\n{root}/a.png,TEST,true,p7,Ulm\n", "utf-8"),
    ],
)
def test_what_other_programs_write_is_read(tmp_path: Path, content: str, encoding: str) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(content.format(root=tmp_path.as_posix()).encode(encoding))
    found = read_manifest(file)
    assert found.rows == (Row("a.png", tmp_path / "a.png", "test", 1, "p7", None, None),)
    expected = ("columns that are not used: 'site'",) if "site" in content else ()
    assert found.passed_over == expected


def test_links_may_not_leave_the_folder(tmp_path: Path) -> None:
    make_image(tmp_path / "outside" / "a.png")
    inside = tmp_path / "inside"
    make_image(inside / "real" / "a.png")
    (inside / "file.png").symlink_to(tmp_path / "outside" / "a.png")
    (inside / "folder").symlink_to(tmp_path / "outside")
    (inside / "near.png").symlink_to("real/a.png")
    csv = inside / "m.csv"
    for name in ("file.png", "folder/a.png"):
        csv.write_text(f"path,split\nreal/a.png,mixed\n{name},mixed\n")
        with pytest.raises(InputError, match=f"row 3: path '{name}' is a link out of"):
            read_manifest(csv)
    csv.write_text("path,split\nnear.png,mixed\n")
    assert read_manifest(csv).rows[0].path == inside / "near.png"
    (tmp_path / "link").symlink_to(inside)
    assert read_manifest(tmp_path / "link" / "m.csv").rows[0].name == "near.png"


def test_a_manifest_is_there_whole_or_as_before(
    tiny_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = read_manifest(tiny_set / "manifest.csv")
    before = sorted(tiny_set.iterdir())

    def refuse(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", refuse)
        with pytest.raises(InputError, match="cannot be written"):
            Manifest(manifest.rows[1:], tiny_set).write(tiny_set / "manifest.csv")
    assert read_manifest(tiny_set / "manifest.csv") == manifest
    assert sorted(tiny_set.iterdir()) == before


def test_an_unknown_split_is_refused_with_those_there_are(tiny_set: Path) -> None:
    with pytest.raises(InputError, match=r"^no split 'val': use one of healthy, mixed"):
        read_manifest(tiny_set / "manifest.csv").split("val")


def test_a_missing_image_is_no_mistake_of_the_manifest(write: Callable[[str], Path]) -> None:
    manifest = read_manifest(write("path,split\nnowhere.png,mixed\n"))
    assert not manifest.rows[0].path.exists()


def test_training_needs_both_sets(write: Callable[[str], Path]) -> None:
    both = read_manifest(write("path,split\na.png,mixed\nb.png,healthy\n"))
    require_training_sets(both)
    for missing in ("healthy", "mixed"):
        rows = tuple(row for row in both.rows if row.split != missing)
        with pytest.raises(InputError, match=f"no {missing} images") as caught:
            require_training_sets(Manifest(rows, both.root))
        assert len(str(caught.value).splitlines()) == 1
