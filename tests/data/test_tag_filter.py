"""Filters by tag: what they keep, and what they refuse to look at."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.tag_filter import TagFilter
from a2bgan.errors import InputError


@pytest.fixture
def files(tmp_path: Path, write_dicom: Callable[..., Path]) -> list[Path]:
    pixels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    for name, modality, view in (("a", "DX", "PA"), ("b", "CR", "PA"), ("c", "DX", "AP")):
        write_dicom(tmp_path / f"{name}.dcm", pixels, Modality=modality, ViewPosition=view)
    write_dicom(tmp_path / "d.dcm", pixels, ViewPosition=None)
    (tmp_path / "e.png").write_bytes(b"x" * 200)
    return [tmp_path / name for name in ("a.dcm", "b.dcm", "c.dcm", "d.dcm", "e.png")]


@pytest.mark.parametrize(
    ("where", "kept"),
    [
        ("ViewPosition=PA,Modality=DX", "a"),
        ("ViewPosition=pa, Modality=DX|CR", "ab"),
        ("Modality=DX", "acd"),
    ],
)
def test_keeps_what_has_the_tags(files: list[Path], where: str, kept: str) -> None:
    found, sentence = TagFilter(where).keep(files, lambda path: path)
    assert "".join(path.stem for path in found) == kept
    assert sentence == (
        f"--where {where}: {len(kept)} of 5 images; "
        "1 left out because no DICOM tags can be read from them"
    )


def test_nothing_left_is_an_error(files: list[Path]) -> None:
    with pytest.raises(InputError, match="--where Modality=MR: 0 of 5 images"):
        TagFilter("Modality=MR").keep(files, lambda path: path)


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("ViewPosition", "expected KEYWORD=VALUE"),
        ("=PA", "expected KEYWORD=VALUE"),
        ("View=PA", "no DICOM keyword 'View'"),
        ("PatientID=7", "identifies patients"),
        ("Modality=DX,Modality=CR", "twice"),
    ],
)
def test_what_cannot_be_read(where: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        TagFilter(where)
