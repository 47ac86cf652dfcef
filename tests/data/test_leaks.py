"""Leaks between sets: found by patient, by place and by content."""

import shutil
from pathlib import Path

import pytest

from a2bgan.data import leaks
from a2bgan.data.leaks import describe_leaks, find_leaks, leaks_within, refuse_leaks
from a2bgan.data.manifest import Manifest, Row
from a2bgan.data.pseudonyms import pseudonym
from a2bgan.errors import InputError


def row(path: Path, split: str, patient: str = "") -> Row:
    return Row(path.name, path, split, None, patient or path.name, None, None)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{k}.png" for k in range(4)]
    for k, path in enumerate(found):
        path.write_bytes(bytes([k]) * 1000)
    return found


def test_the_same_bytes_under_another_name(files: list[Path]) -> None:
    shutil.copy(files[0], files[2])
    found = find_leaks([row(f, "healthy") for f in files[:2]], [row(f, "test") for f in files[2:]])
    assert [(leak.row.name, leak.of, leak.name) for leak in found] == [
        ("2.png", "image", "0.png = 2.png")
    ]


def test_a_link_to_the_same_file(files: list[Path], tmp_path: Path) -> None:
    link = tmp_path / "link.png"
    link.symlink_to(files[1])
    assert [leak.name for leak in find_leaks([row(files[1], "mixed")], [row(link, "test")])] == [
        "1.png = link.png"
    ]


def test_files_that_differ_between_the_blocks_that_are_compared_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leaks, "BLOCK", 10)
    content = bytearray(1000)
    paths = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    paths[0].write_bytes(content)
    paths[2].write_bytes(content)
    content[200] = 1
    paths[1].write_bytes(content)
    found = find_leaks([row(paths[0], "healthy")], [row(p, "test") for p in paths[1:]])
    assert [leak.row.name for leak in found] == ["c.png"]


def test_a_patient_under_identifier_and_pseudonym(files: list[Path]) -> None:
    found = find_leaks([row(files[0], "healthy", "P7")], [row(files[1], "test", pseudonym("P7"))])
    assert [leak.of for leak in found] == ["patient"]


def test_missing_files_and_unknown_patients_are_no_leaks(files: list[Path], tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    assert (
        find_leaks([row(files[0], "healthy"), row(gone, "healthy")], [row(files[1], "test")]) == []
    )


def test_what_is_said_of_a_manifest_and_how_it_is_refused(files: list[Path]) -> None:
    shutil.copy(files[0], files[3])
    rows = (
        row(files[0], "healthy", "P1"),
        row(files[1], "mixed", "P1"),
        row(files[2], "test", "P2"),
        row(files[3], "test", "P3"),
    )
    said = leaks_within(Manifest(rows, files[0].parent))
    assert said == [
        "1 patient has images both in healthy and in mixed (P1); keep all images of a patient in "
        "one set",
        "1 identical file is both in healthy and in test (0.png = 3.png); remove one of each",
    ]
    with pytest.raises(InputError, match=r"\(P1\).*; or give allow_leaks=True"):
        refuse_leaks(said)
    refuse_leaks([])


def test_three_are_named_and_the_others_counted(files: list[Path]) -> None:
    learned = [row(files[0], "healthy", f"P{k}") for k in range(5)]
    others = [row(files[1], "test", f"P{k}") for k in range(5)]
    (said,) = describe_leaks(find_leaks(learned, others), "healthy", "test")
    assert "5 patients have" in said and "(P0, P1, P2 and 2 more)" in said
