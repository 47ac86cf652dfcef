"""Folders in place of a manifest: sets, masks, and what is refused."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.folder_layout import scan_folder
from a2bgan.data.open_data import open_data
from a2bgan.errors import InputError


def make_image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.eye(9, dtype=np.uint8)).save(path)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    folder = tmp_path / "set"
    for name in (
        "healthy/b.png",
        "healthy/deep/a.JPG",
        "mixed/c.tiff",
        "test/normal/n.png",
        "test/abnormal/x.png",
        "test/mask/x.tif",
        "healthy/.hidden.png",
        "other/z.png",
    ):
        make_image(folder / name)
    (folder / "healthy" / "notes.txt").write_text("x")
    return folder


def test_folders_of_sets_may_be_in_capitals_and_what_is_not_read_is_named(tmp_path: Path) -> None:
    for name in ("Healthy", "MIXED", "Test/Normal", "Test/ABNORMAL"):
        make_image(tmp_path / name / "a.png")
    for name in ("Healthy/b.mha", "MIXED/c.xyz", "notes.md", "Healthy/.hidden"):
        (tmp_path / name).write_bytes(b"x")
    found = scan_folder(tmp_path)
    assert [(row.split, row.label) for row in found.rows] == [
        ("healthy", 0), ("mixed", None), ("test", 1), ("test", 0)
    ]  # fmt: skip
    (said,) = found.passed_over
    assert said.startswith("3 files are of no known image format and not read: 'Healthy/b.mha'")


@pytest.mark.parametrize(
    ("place", "given", "words"),
    [
        ("a.png", ".", r"1 images lie directly in the folder"),
        ("set/healthy/a.png", ".", r"one level too high: give .*/set, which has the sets"),
        ("healthy/a.png", "healthy", r"one level too low: give the folder above"),
        ("sick/a.png", ".", r"no images in a set, but the folders sick"),
    ],
)
def test_a_folder_of_another_layout_is_answered_by_what_is_there(
    tmp_path: Path, place: str, given: str, words: str
) -> None:
    make_image(tmp_path / place)
    with pytest.raises(InputError, match=rf"{words}.* and no manifest\.csv; expected healthy/"):
        scan_folder(tmp_path / given)


@pytest.mark.parametrize("name", [b"healthy/b\xe4d.png", b"test/mask/\xff.png"])
def test_names_that_are_not_utf8_are_refused_in_words(layout: Path, name: bytes) -> None:
    source = layout / "healthy" / "b.png"
    if name.startswith(b"test"):
        (layout / "test/normal/n.png").rename(
            os.fsdecode(os.fsencode(layout / "test/normal") + b"/\xff.png")
        )
    source.rename(os.fsdecode(os.fsencode(layout) + b"/" + name))
    with pytest.raises(InputError, match=r"\\udc.* is not UTF-8 text; rename it$") as caught:
        open_data(layout)
    assert str(caught.value).isprintable()


def test_scan_folder(layout: Path) -> None:
    manifest = open_data(layout)
    assert [(row.name, row.split, row.label) for row in manifest.rows] == [
        ("healthy/b.png", "healthy", 0),
        ("healthy/deep/a.JPG", "healthy", 0),
        ("mixed/c.tiff", "mixed", None),
        ("test/abnormal/x.png", "test", 1),
        ("test/normal/n.png", "test", 0),
    ]
    assert [row.mask for row in manifest.rows] == [None] * 3 + [layout / "test/mask/x.tif", None]
    assert all(row.patient_id == row.name and row.path.is_file() for row in manifest.rows)
    manifest.write(layout / "manifest.csv")
    assert open_data(str(layout)) == manifest


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("test/stray.png", "'test/stray.png': move it into test/normal/ or test/abnormal/"),
        ("test/mask/y.png", "mask 'test/mask/y.png' has no test image"),
        ("test/mask/x.png", "have the same file stem; keep one"),
        ("test/normal/x.png", "share the file stem of a mask"),
    ],
)
def test_scan_folder_refuses_what_it_would_guess(layout: Path, name: str, message: str) -> None:
    make_image(layout / name)
    with pytest.raises(InputError) as caught:
        scan_folder(layout)
    assert message in str(caught.value)
