import os
from pathlib import Path

import pytest

from a2bgan.data.holdout import Holdout, HoldoutConfig, hold_out
from a2bgan.data.manifest import Manifest, Row
from a2bgan.errors import InputError

DEFAULT = HoldoutConfig(fraction=0.1, at_least=50, seed=0)


def manifest(healthy: int, mixed: int, *, images_each: int = 1, label=None, shared: int = 0):
    """Patients p0, p1, ...; the first ``shared`` of the mixed ones are healthy ones too."""
    root = Path("/set")

    def row(split: str, patient: str, i: int) -> Row:
        name = f"{split}/{patient}-{i}.png"
        return Row(name, root / name, split, label, patient, None, None)

    patients = [("healthy", f"p{i}") for i in range(healthy // images_each)]
    first = len(patients) - shared
    patients += [("mixed", f"p{first + i}") for i in range(mixed // images_each)]
    rows = [row(split, p, i) for split, p in patients for i in range(images_each)]
    return Manifest(tuple(rows), root)


def counts(m: Manifest, holdout: Holdout) -> dict[str, int]:
    return {
        f"{split} {part}": len(holdout.rows(m, split, part))
        for split in ("healthy", "mixed")
        for part in ("training", "selection", "calibration")
    }


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((2000, 1000), (1600, 200, 200, 900, 100, 0)),  # a tenth
        ((400, 300), (310, 50, 40, 250, 50, 0)),  # at least 50
        ((200, 300), (125, 50, 25, 250, 50, 0)),
        ((120, 60), (65, 30, 25, 40, 20, 0)),  # at most half, and a third for one purpose
        ((3, 1), (3, 0, 0, 1, 0, 0)),  # too few to part with any
    ],
)
def test_how_many(sizes, expected):
    m = manifest(*sizes)
    assert tuple(counts(m, hold_out(m, DEFAULT)).values()) == expected


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ((400, 334), (310, 50, 40, 284, 50, 0)),
        ((400, 333), (360, 0, 40, 333, 0, 0)),
        ((333, 4000), (300, 0, 33, 4000, 0, 0)),
        ((200, 100), (175, 0, 25, 100, 0, 0)),
        ((60, 100), (40, 0, 20, 100, 0, 0)),
        ((20, 100), (14, 0, 6, 100, 0, 0)),
    ],
)
def test_few_images_are_learned_from_instead_of_selected_by(sizes, expected):
    m = manifest(*sizes)
    config = DEFAULT.model_copy(update={"at_most": 0.15})
    assert tuple(counts(m, hold_out(m, config)).values()) == expected


def test_every_row_has_one_part_and_patients_stay_together():
    m = manifest(600, 400, images_each=4, shared=20)
    holdout = hold_out(m, DEFAULT)
    part_of: dict[str, set[str]] = {}
    total = 0
    for split in ("healthy", "mixed"):
        for part in ("training", "selection", "calibration"):
            rows = holdout.rows(m, split, part)
            total += len(rows)
            for row in rows:
                part_of.setdefault(row.patient_id, set()).add(part)
    assert total == 1000
    assert all(len(parts) == 1 for parts in part_of.values())
    assert len(holdout.rows(m, "healthy", "calibration")) == 100  # 25 patients


def test_one_patient_with_most_of_the_images_is_trained_on():
    m = manifest(100, 100, images_each=50)
    holdout = hold_out(m, DEFAULT)
    assert counts(m, holdout)["healthy training"] == 100
    assert counts(m, holdout)["mixed selection"] == 50


def test_the_seed_decides_and_labels_do_not():
    m = manifest(300, 300)

    def names(m: Manifest, seed: int) -> list[str]:
        return [
            row.name
            for row in hold_out(m, DEFAULT.model_copy(update={"seed": seed})).rows(
                m, "mixed", "selection"
            )
        ]

    assert names(m, 0) == names(m, 0) == names(manifest(300, 300, label=1), 0)
    assert names(m, 0) != names(m, 1)


def test_nothing_is_held_out_on_request():
    m = manifest(300, 300)
    assert (
        counts(m, hold_out(m, DEFAULT.model_copy(update={"fraction": 0})))["healthy training"]
        == 300
    )


def test_round_trip(tmp_path):
    m = manifest(300, 300)
    holdout = hold_out(m, DEFAULT)
    holdout.write(tmp_path / "holdout.csv")
    assert counts(m, Holdout.read(tmp_path / "holdout.csv")) == counts(m, holdout)
    with pytest.raises(InputError, match="cannot be read"):
        Holdout.read(tmp_path / "nowhere.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match="not a list of held-out images"):
        Holdout.read(tmp_path / "other.csv")


def test_who_waits_for_the_file_finds_all_of_it(tmp_path, monkeypatch):
    holdout = hold_out(manifest(300, 300), DEFAULT)
    file = tmp_path / "holdout.csv"
    replace = os.replace

    def look(*paths):
        assert not file.exists()
        replace(*paths)
        moved.append(file.read_text())

    moved: list[str] = []
    monkeypatch.setattr(os, "replace", look)
    holdout.write(file)
    assert moved == [file.read_text()]
    assert len(moved[0].splitlines()) > 100
    assert list(tmp_path.iterdir()) == [file]
