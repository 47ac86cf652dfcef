import csv
import io

import numpy as np
from PIL import Image
from rich.console import Console

from a2bgan.cli.data import SHOWN_DISEASES
from a2bgan.data.generate.phantoms import DISEASES


def test_check_prints_counts_and_writes_a_contact_sheet(tiny_set, a2bgan, tmp_path):
    result = a2bgan("data", "check", tiny_set, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output
    assert "ready to train" in result.output
    assert "40 x 48" in result.output
    assert Image.open(tmp_path / "sheet.png").size[0] > 100


def test_check_fails_on_what_would_spoil_a_result(tiny_set, a2bgan, tmp_path):
    rows = list(csv.DictReader((tiny_set / "manifest.csv").open(newline="")))
    healthy = next(row for row in rows if row["split"] == "healthy")
    test = next(row for row in rows if row["split"] == "test")
    (tiny_set / test["path"]).write_bytes((tiny_set / healthy["path"]).read_bytes())
    result = a2bgan("data", "check", tiny_set, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "error:" in result.output
    assert "ready to train" not in result.output


def test_simulate_makes_what_it_is_asked_for(a2bgan, tmp_path):
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    for i in range(12):
        image = Image.fromarray(rng.integers(0, 255, (50, 40), dtype=np.uint8))
        image.save(tmp_path / "images" / f"{i}.png")
    counts = {"healthy": 4, "mixed-normal": 2, "mixed-abnormal": 2, "test-normal": 2}
    options = [part for name, n in counts.items() for part in (f"--{name}", n)]
    result = a2bgan(
        "data", "simulate", "--images", tmp_path / "images", "--out", tmp_path / "set",
        "--size", 32, "--square", 8, *options, "--test-abnormal", 2, "--seed", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    with (tmp_path / "set" / "manifest.csv").open(newline="") as file:
        splits = [(row["split"], row["label"]) for row in csv.DictReader(file)]
    assert sorted(set(splits)) == [
        ("healthy", "0"), ("mixed", "0"), ("mixed", "1"), ("test", "0"), ("test", "1")
    ]  # fmt: skip
    assert len(splits) == 12


def test_phantoms_open_as_data(a2bgan, tmp_path):
    counts = ("--healthy", 2, "--mixed-normal", 1, "--mixed-abnormal", 1)
    options = (*counts, "--test-normal", 1, "--test-abnormal", 1, "--size", 64)
    made = a2bgan("data", "phantom", "--out", tmp_path / "p", *options)
    assert made.exit_code == 0
    assert f"next: a2bgan data check {tmp_path / 'p' / 'manifest.csv'}\n" in made.output
    result = a2bgan("data", "check", tmp_path / "p", "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 0, result.output


def test_check_names_a_planted_shortcut_until_its_remedy_is_set(a2bgan, tmp_path):
    counts = ("--healthy", 60, "--mixed-normal", 20, "--mixed-abnormal", 40)
    options = (*counts, "--test-normal", 1, "--test-abnormal", 1, "--size", 64)
    made = a2bgan("data", "phantom", "--out", tmp_path / "p", *options, "--shortcut", "marker")
    assert made.exit_code == 0, made.output
    common = ("data", "check", tmp_path / "p", "--sheet", tmp_path / "sheet.png")
    said = "shortcut: marks in corners after preprocessing is higher in the mixed set"
    before = a2bgan(*common)
    assert before.exit_code == 0 and said in before.output
    assert "--set data.mask_corners=0.2" in before.output
    after = a2bgan(*common, "--set", "data.mask_corners=0.2")
    kept = f"a2bgan train --data {tmp_path / 'p'} --out runs/mine --set data.mask_corners=0.2"
    assert f"next: {kept}\n" in after.output
    assert said not in after.output
    assert "marks in corners" in after.output  # in the table, with what it was and is


def test_check_without_one_of_the_sets_looks_for_no_shortcuts(tiny_set, a2bgan, tmp_path):
    for row in csv.DictReader((tiny_set / "manifest.csv").open(newline="")):
        if row["split"] == "mixed":
            (tiny_set / row["path"]).unlink()
    result = a2bgan("data", "check", tiny_set, "--sheet", tmp_path / "sheet.png")
    assert result.exit_code == 1
    assert "no usable mixed images" in result.output
    assert "shortcut" not in result.output


def test_the_help_lists_the_diseases_that_there_are():
    assert tuple(SHOWN_DISEASES.replace(" or", ",").split(", ")) == DISEASES


def test_check_shows_a_bar_in_a_terminal_and_none_when_piped(
    tiny_set, a2bgan, tmp_path, monkeypatch
):
    command = ("data", "check", tiny_set, "--sheet", tmp_path / "sheet.png")
    assert "looking for shortcuts" not in a2bgan(*command).output
    shown = io.StringIO()
    terminal = Console(file=shown, force_terminal=True)
    monkeypatch.setattr("a2bgan.cli.console.stderr", terminal)
    assert a2bgan(*command).exit_code == 0
    assert all(text in shown.getvalue() for text in ("reading", "looking for shortcuts", "100%"))
