from pathlib import Path

import numpy as np
import pytest

from a2bgan.data.prepare.splits import Case, borrow_mixed, divide, divide_by_lists
from a2bgan.data.set_counts import SetCounts

ROOT = Path("ROOT")
COUNTS = SetCounts(40, 12, 8, test_normal=10, test_abnormal=4)


def cohort(patients, seed=0):
    """Patients with 1 to 6 images; a fifth of the patients are ill on some of them."""
    rng = np.random.default_rng(seed)
    cases = []
    for patient in range(patients):
        for image in range(rng.integers(1, 7)):
            label = int(patient % 5 == 0 and rng.random() < 0.6)
            cases.append(Case(f"{patient}_{image}.png", "", label, f"p{patient}"))
    return cases


def numbers(parts):
    labels = {part: [case.label for case in cases] for part, cases in parts.items()}
    return SetCounts(
        len(labels["healthy"]),
        labels["mixed"].count(0),
        labels["mixed"].count(1),
        labels["test"].count(0),
        labels["test"].count(1),
    )


def split(cases, how="patient", counts=COUNTS, seed=0, scale=False):
    return divide(cases, counts, how, seed=seed, scale=scale, root=ROOT)


@pytest.mark.parametrize("seed", range(20))
def test_by_patient_gives_the_counts_and_no_patient_two_sides(seed):
    parts = split(cohort(60, seed), seed=seed)
    assert numbers(parts) == COUNTS
    patients = [{case.patient for case in cases} for cases in parts.values()]
    assert len(set.union(*patients)) == sum(map(len, patients))
    ill = {case.patient for case in cohort(60, seed) if case.label}
    assert not ill & {case.patient for case in parts["healthy"]}
    names = [case.name for cases in parts.values() for case in cases]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("seed", range(5))
def test_by_image_gives_the_counts_and_ignores_patients(seed):
    parts = split(cohort(60, seed), "paper", seed=seed)
    assert numbers(parts) == COUNTS
    names = [case.name for cases in parts.values() for case in cases]
    assert len(set(names)) == len(names)
    patients = [{case.patient for case in cases} for cases in parts.values()]
    assert len(set.union(*patients)) < sum(map(len, patients))


@pytest.mark.parametrize("how", ["patient", "paper"])
def test_the_draw_depends_on_the_seed_and_not_on_the_order(how):
    cases = cohort(60)
    assert split(cases, how) == split(cases[::-1], how)
    assert split(cases, how) != split(cases, how, seed=1)


def test_too_few_images_stop_the_papers_split_and_are_scaled_otherwise(message):
    cases = [Case(f"n{i}", "", 0, f"n{i}") for i in range(31)]
    cases += [Case(f"a{i}", "", 1, f"a{i}") for i in range(100)]
    assert message(split, cases, "paper") == (
        "ROOT: the paper's split needs 62 normal and 12 abnormal images, found 31 and 100; "
        "add --scale for the same proportions of them, or use --split patient"
    )
    half = SetCounts(20, 6, 4, 5, 2)
    assert numbers(split(cases, "paper", scale=True)) == half
    assert numbers(split(cases, "patient")) == half


def test_numbers_that_cannot_be_divided_are_named(message):
    cases = [Case("n", "", 0), Case("a", "", 1)]
    assert "1 normal and 1 abnormal images are too few" in message(split, cases)
    assert "0 normal and 0 abnormal" in message(split, [])
    assert message(split, cases, "random") == "split 'random': use patient or paper"


@pytest.mark.parametrize("available", range(1, 100))
def test_proportions_survive_rounding(available):
    assert SetCounts(90, 0, 10).fitting(available, 1000) == SetCounts(
        available, 0, available * 10 // 90
    ) or (available >= 90)


def test_a_borrowed_mixed_set_has_some_of_each_kind_and_as_many_normal_images():
    normal = [Case(f"n{i}", "", 0) for i in range(50)]
    kinds = [
        [Case(f"{kind}{i}", "", 1) for i in range(size)] for kind, size in (("a", 10), ("b", 2))
    ]
    parts, left = borrow_mixed(normal, kinds, 0.5, seed=0)
    mixed = [case.name for case in parts["mixed"]]
    assert sorted(name[0] for name in mixed) == ["a"] * 5 + ["b"] + ["n"] * 6
    assert sorted(case.name[0] for case in left) == ["a"] * 5 + ["b"]
    assert {*mixed, *(case.name for case in parts["healthy"])} | {case.name for case in left} == {
        case.name for case in [*normal, *kinds[0], *kinds[1]]
    }
    assert len(parts["healthy"]) == 44
    assert borrow_mixed(normal, kinds, 0.5, seed=0) == (parts, left)
    assert borrow_mixed(normal, kinds, 0.5, seed=1) != (parts, left)


def test_a_listed_name_that_two_files_have_is_refused(tmp_path, message):
    files = ("one/1.png", "one/2.png", "other/2.png", "one/3.png")
    cases = [Case(file, file, 0) for file in files]
    for part, name in (("healthy", "1.png"), ("mixed", "3.png"), ("test", "2.png")):
        (tmp_path / f"{part}.txt").write_text(name)
    sides = {"healthy": cases, "mixed": cases}
    parts, _ = divide_by_lists(sides, tmp_path, "images")
    assert {part: [case.file for case in found] for part, found in parts.items()} == {
        "healthy": ["one/1.png"],
        "mixed": ["one/3.png"],
    }
    assert message(divide_by_lists, {**sides, "test": cases}, tmp_path, "images") == (
        f"{tmp_path}/test.txt: 2.png may be one/2.png or other/2.png; rename one of them, or "
        "leave the name out"
    )
