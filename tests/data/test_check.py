"""The check finds what is wrong with a data set and measures it right."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.cache import images as cache
from a2bgan.data.check import check_data
from a2bgan.data.config import DataConfig
from a2bgan.data.formats.picture import Picture, ReadOptions
from a2bgan.data.manifest import Manifest
from a2bgan.data.open_data import open_data

CONFIG = DataConfig(size=32)


@pytest.fixture
def manifest(tiny_set: Path) -> Manifest:
    return open_data(tiny_set)


def with_rows(manifest: Manifest, changes: Mapping[int, Mapping[str, object]]) -> Manifest:
    """The manifest with some rows changed, by row number."""
    rows = [replace(row, **changes.get(k, {})) for k, row in enumerate(manifest.rows)]  # type: ignore[arg-type]
    return Manifest(tuple(rows), manifest.root)


def only(lines: list[str], *words: str) -> str:
    """The one line that has all the words."""
    (line,) = [line for line in lines if all(word in line for word in words)]
    assert len(line.splitlines()) == 1
    return line


def test_a_sound_set(manifest: Manifest) -> None:
    check = check_data(manifest, CONFIG)
    assert check.errors == []
    assert check.counts == {"healthy": 12, "mixed": 10, "test": 12, "extra": 0}
    assert check.test_labels == {"normal": 6, "abnormal": 6, "unlabelled": 0}
    assert check.sizes is not None
    assert check.sizes.smallest == check.sizes.median == check.sizes.largest == (40, 48)
    assert check.sizes.most_common == [((40, 48), 34)]
    assert check.depths == {"8-bit grey": 34}
    assert check.failures == {"healthy": [], "mixed": [], "test": []}
    assert {split: len(images) for split, images in check.images.items()} == {
        "healthy": 12,
        "mixed": 10,
        "test": 12,
    }
    # All that is left to say is how small the sets are.
    assert len(check.warnings) == 4
    only(check.warnings, "only 12 healthy images")
    only(check.warnings, "only 10 mixed images")
    only(check.warnings, "only 6 normal test images")
    only(check.warnings, "only 6 abnormal test images")


@pytest.mark.parametrize("depth", [8, 16])
def test_intensity_is_that_of_all_pixels(manifest: Manifest, depth: int) -> None:
    check = check_data(manifest, DataConfig.model_validate({"size": 32, "depth": depth}))
    for split, images in check.images.items():
        values = images / (2.0**depth - 1)
        found = check.intensity[split]
        assert found.mean == pytest.approx(values.mean())
        assert found.sd == pytest.approx(values.std())
        low, high = np.percentile(values, [1, 99], method="inverted_cdf")
        assert (found.percentile_1, found.percentile_99) == pytest.approx((low, high))


def test_sizes_and_formats(manifest: Manifest, make_texture: Callable[[int], np.ndarray]) -> None:
    for k in range(12, 22):
        deep = make_texture(k).astype(np.uint16) * 200
        Image.fromarray(deep).resize((100, 80)).save(manifest.rows[k].path)
    Image.fromarray(make_texture(0)).convert("RGB").resize((20, 300)).save(manifest.rows[0].path)
    check = check_data(manifest, CONFIG)
    assert check.depths == {"8-bit grey": 23, "16-bit grey": 10, "8-bit colour": 1}
    assert check.sizes is not None
    assert check.sizes.smallest == (20, 48)
    assert check.sizes.largest == (100, 300)
    assert check.sizes.most_common == [((40, 48), 23), ((100, 80), 10), ((20, 300), 1)]
    only(check.warnings, "1 image smaller than 32 x 32")
    only(check.warnings, "healthy images are mostly 8-bit grey", "mixed images mostly 16-bit grey")


def test_unusable_files_are_listed_with_their_reason(manifest: Manifest) -> None:
    manifest.rows[1].path.unlink()
    for k in range(12, 17):
        manifest.rows[k].path.write_bytes(b"")
    check = check_data(manifest, CONFIG)
    assert [(f.name, f.reason) for f in check.failures["healthy"]] == [
        ("images/001.png", "missing file")
    ]
    only(check.warnings, "1 of 12 healthy images cannot be used", "images/001.png: missing file")
    line = only(check.warnings, "5 of 10 mixed images cannot be used", "and 2 more")
    assert line.count("empty file") == 3
    assert check.errors == []


def test_the_same_file_in_two_sets_is_an_error(manifest: Manifest) -> None:
    rows = manifest.rows
    shutil.copy(rows[0].path, rows[22].path)  # healthy and test
    shutil.copy(rows[13].path, rows[24].path)  # mixed and test
    shutil.copy(rows[2].path, rows[14].path)  # healthy and mixed
    shutil.copy(rows[3].path, rows[4].path)  # twice healthy
    check = check_data(manifest, CONFIG)
    assert len(check.errors) == 3
    only(check.errors, "both in healthy and in test", "images/000.png = images/022.png")
    only(check.errors, "both in mixed and in test", "images/013.png = images/024.png")
    only(check.errors, "both in healthy and in mixed", "images/002.png = images/014.png")
    only(check.warnings, "more than once in healthy", "images/003.png = images/004.png")


def test_patients_in_two_sets(manifest: Manifest) -> None:
    check = check_data(
        with_rows(
            manifest,
            {
                0: {"patient_id": "P1"},
                1: {"patient_id": "P1"},
                23: {"patient_id": "P1"},
                2: {"patient_id": "P2"},
                12: {"patient_id": "P2"},
            },
        ),
        CONFIG,
    )
    assert len(check.errors) == 2
    only(check.errors, "1 patient has images both in healthy and in test (P1)")
    only(check.errors, "1 patient has images both in healthy and in mixed (P2)")


def test_extra_rows_are_not_read(manifest: Manifest) -> None:
    patient = manifest.rows[22].patient_id
    changed = with_rows(manifest, {0: {"split": "extra", "patient_id": patient}})
    shutil.copy(changed.rows[22].path, changed.rows[0].path)
    changed.rows[1].path.unlink()
    changed = with_rows(changed, {1: {"split": "extra"}})
    check = check_data(changed, CONFIG)
    assert check.errors == []
    assert check.counts["extra"] == 2
    assert not any(check.failures.values())


def test_labels(manifest: Manifest) -> None:
    check = check_data(
        with_rows(manifest, {0: {"label": 1}, **{k: {"label": None} for k in range(23, 34, 2)}}),
        CONFIG,
    )
    only(check.errors, "healthy set labelled 1 (abnormal): images/000.png")
    only(check.warnings, "6 images of the test set without a label")
    only(check.warnings, "no abnormal test images: AUROC is not defined")


def test_labels_of_the_mixed_set_change_nothing(manifest: Manifest) -> None:
    flipped = {k: {"label": 1 - (manifest.rows[k].label or 0)} for k in range(12, 22)}
    ours, theirs = (check_data(m, CONFIG) for m in (manifest, with_rows(manifest, flipped)))
    assert (ours.errors, ours.warnings) == (theirs.errors, theirs.warnings)


def test_a_set_of_one_patient(manifest: Manifest) -> None:
    same = with_rows(manifest, {k: {"patient_id": "0"} for k in range(12)})
    only(check_data(same, CONFIG).warnings, "all 12 healthy images are of one patient")


def test_missing_sets(manifest: Manifest) -> None:
    check = check_data(Manifest(manifest.split("test"), manifest.root), CONFIG)
    only(check.errors, "no usable healthy images")
    only(check.errors, "no usable mixed images")
    check = check_data(Manifest(manifest.rows[:22], manifest.root), CONFIG)
    assert check.errors == []
    only(check.warnings, "no test images")
    assert "test" not in check.intensity


def test_masks_that_cannot_be_used(manifest: Manifest) -> None:
    masks = [row.mask for row in manifest.rows if row.mask is not None]
    masks[0].unlink()
    Image.new("L", (41, 48), 255).save(masks[1])
    line = only(check_data(manifest, CONFIG).errors, "2 masks cannot be used")
    assert "missing file" in line
    assert "41 x 48 where the image has 40 x 48" in line


def test_a_second_check_decodes_no_image_again(
    manifest: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    original = cache.read_picture

    def counted(path: Path, options: ReadOptions) -> Picture:
        read.append(path)
        return original(path, options)

    monkeypatch.setattr(cache, "read_picture", counted)
    first = check_data(manifest, CONFIG, tmp_path / "c")
    assert read
    read.clear()
    assert check_data(manifest, CONFIG, tmp_path / "c").counts == first.counts
    assert read == []


def test_real_sets(shared_data: Path) -> None:
    check = check_data(open_data(shared_data / "chestxray8" / "covid.csv"), CONFIG)
    assert check.errors == []
    assert not any(check.failures.values())
    assert check.test_labels == {"normal": 150, "abnormal": 62, "unlabelled": 0}


def test_the_images_read_are_counted_whether_decoded_or_from_the_cache(manifest, tmp_path) -> None:
    fresh, again = list[int](), list[int]()
    check_data(manifest, CONFIG, tmp_path, fresh.append)
    check_data(manifest, CONFIG, tmp_path, again.append)
    assert sorted(set(fresh)) == list(range(1, 35))
    assert fresh == sorted(fresh)
    assert again == [12, 22, 34]  # a set at a time
