import csv
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from a2bgan.data.config import DataConfig
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.decisions.contours import Region
from a2bgan.detection.inputs import Input
from a2bgan.detection.pick import Pick
from a2bgan.detection.predict import Prediction
from a2bgan.report import picture_files, score_tables
from a2bgan.report.case_facts import case_facts
from a2bgan.report.score_tables import write_predictions

CONFIG = DataConfig(size=32)
PICK = Pick("step-00000001", "ema", "mean", "aucp")


def prediction(name: str, patient: str, score: float | None) -> Prediction:
    item = Input(name, Path(name), patient)
    if score is None:
        return Prediction(item, error="empty file")
    image = np.random.default_rng(len(name)).random((1, 32, 32)).astype(np.float32)
    return Prediction(item, score, image, image, np.zeros((32, 32), np.float32))


def calibration(scores, mean: float = 0.5) -> Calibration:
    scores = np.sort(np.asarray(scores, dtype=float))
    n = len(scores)
    return Calibration(PICK, scores, scores, np.full(n, mean), np.full(n, 0.29), np.arange(n))


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "scores.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_flags_are_those_of_the_patient(tmp_path):
    given = [
        prediction("a/1.png", "ann", 0.2),
        prediction("a/2.png", "bob", None),
        prediction("b/1.png", "ann", 0.99),
        prediction("b/3.png", "cyd", 0.3),
    ]
    scale = calibration(np.linspace(0.01, 0.95, 39))
    written = write_predictions(given, tmp_path, calibration=scale, rate=0.05, pictures=CONFIG)
    assert (written.scored, written.patients, written.flagged) == (3, 2, 1)
    assert written.failures == [("a/2.png", "empty file")]
    found = rows(tmp_path)
    assert [row["path"] for row in found] == ["a/1.png", "a/2.png", "b/1.png", "b/3.png"]
    assert [row["p_value"] for row in found] == ["0.02500", "", "0.02500", "0.70000"]
    assert [row["flagged"] for row in found] == ["1", "", "1", "0"]
    assert found[1]["error"] == "empty file"
    pictures = [row["picture"] for row in found if row["picture"]]
    assert len(set(pictures)) == 3
    assert all((tmp_path / picture).stat().st_size > 1000 for picture in pictures)
    assert not list(tmp_path.glob("*.tmp"))


def test_headings_have_the_p_value_of_the_patient(tmp_path, monkeypatch):
    given = [
        prediction("a/1.png", "ann", 0.2),
        prediction("b/1.png", "ann", 0.99),
        prediction("b/3.png", "cyd", 0.3),
    ]
    scale = calibration(np.linspace(0.01, 0.95, 39))
    lines = []
    monkeypatch.setattr(
        picture_files, "draw_heading", lambda canvas, heading, unit: lines.append(heading)
    )
    write_predictions(given, tmp_path, calibration=scale, rate=0.05, pictures=CONFIG)
    # Painted with the p-value of the image alone, and corrected where another image is worse.
    flagged = "p 0.025 · flagged (threshold 0.925 at 5\N{NO-BREAK SPACE}%)"
    by_another = flagged.replace("flagged", "flagged by another image of the patient")
    assert lines == [["1.png, patient ann", f"score 0.200 · {by_another}"]]
    monkeypatch.undo()
    assert case_facts(0.99, 0.025, scale, 0.05) == ["score 0.990", *flagged.split(" · ")]
    assert case_facts(0.99) == ["score 0.990", "no threshold"]
    assert "too few" in case_facts(0.99, 0.3, calibration([0.1, 0.2]), 0.05)[-1]


def test_without_a_calibration_nothing_is_flagged(tmp_path):
    written = write_predictions([prediction("1.png", "", 0.2)], tmp_path)
    (row,) = rows(tmp_path)
    assert (row["score"], row["p_value"], row["flagged"]) == ("0.200000", "", "")
    assert (written.flagged, written.drift) == (0, [])


def test_drift_is_told(tmp_path):
    given = [prediction(f"{'x' * i}.png", "", 0.3 + 0.01 * i) for i in range(1, 31)]
    scale = calibration(np.linspace(0.3, 0.6, 60), mean=0.2)
    written = write_predictions(given, tmp_path, calibration=scale)
    assert any(sentence.startswith("brightness") for sentence in written.drift)


def test_images_of_unknown_patients_are_told_apart_by_place_not_by_name(tmp_path):
    given = [
        replace(found, input=Input("img.png", Path(folder, "img.png"), ""))
        for folder, found in (
            ("A", prediction("a", "", 0.2)),
            ("B", prediction("b", "", 0.99)),
            ("C", prediction("c", "", 0.3)),
        )
    ]
    scale = calibration(np.linspace(0.01, 0.95, 39))
    written = write_predictions(given, tmp_path, calibration=scale)
    assert (written.patients, written.flagged) == (3, 1)
    assert [row["flagged"] for row in rows(tmp_path)] == ["0", "1", "0"]
    assert {row["patient_id"] for row in rows(tmp_path)} == {""}


def test_names_that_are_not_utf8_are_written_escaped(tmp_path):
    name = os.fsdecode(b"b\xe4d.png")
    given = [
        prediction(name, "", 0.2),
        prediction(f"2/{name}", "", 0.3),
        prediction(name, "", None),
    ]
    scale = calibration(np.linspace(0.01, 0.95, 39))
    written = write_predictions(given, tmp_path, calibration=scale, pictures=CONFIG)
    assert written.failures == [(r"b\udce4d.png", "empty file")]
    found = rows(tmp_path)
    assert [row["path"] for row in found] == [
        r"b\udce4d.png", r"2/b\udce4d.png", r"b\udce4d.png",
    ]  # fmt: skip
    pictures = [row["picture"] for row in found[:2]]
    assert pictures == ["pictures/b\N{REPLACEMENT CHARACTER}d.png",
                        "pictures/b\N{REPLACEMENT CHARACTER}d-2.png"]  # fmt: skip
    assert all((tmp_path / picture).stat().st_size > 1000 for picture in pictures)


@pytest.mark.parametrize("scale", [None, calibration(np.linspace(0.01, 0.95, 39))])
def test_no_name_and_no_patient_is_a_formula(tmp_path, scale):
    given = [prediction("=1+1.png", "@ann", 0.2), prediction("-2.png", "+bob", None)]
    write_predictions(given, tmp_path, calibration=scale)
    found = [(row["path"], row["patient_id"]) for row in rows(tmp_path)]
    assert found == [("'=1+1.png", "'@ann"), ("'-2.png", "'+bob")]


def test_without_files_there_are_no_names_of_files(tmp_path, monkeypatch):
    monkeypatch.setattr(score_tables, "free_name", None)
    write_predictions([prediction("1.png", "", 0.2)], tmp_path)
    assert len(rows(tmp_path)) == 1


def outlined(name: str, regions: list[Region], area: float | None = None) -> Prediction:
    mask = np.zeros((32, 32), dtype=bool)
    mask[8:20, 8:20] = bool(regions)
    found = prediction(name, "", 0.2)
    return replace(found, mask=mask, regions={name: regions}, pixel_area=area)


def region_rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "regions.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_regions_are_counted_measured_and_listed(tmp_path):
    first = Region((10, 20, 14, 25), 16, 0.04, (12.0, 22.0), 0.75)
    second = Region((0, 0, 3, 3), 9, 0.0225, (1.0, 1.0), 0.5)
    given = [
        outlined("=a.png", [first, second], 0.25),
        outlined("b.png", [second]),
        outlined("c.png", []),
        prediction("d.png", "", None),
    ]
    written = write_predictions(
        given, tmp_path, calibration=calibration([0.1] * 30), pictures=CONFIG
    )
    assert written.outlined == 2
    found = rows(tmp_path)
    assert [row["n_regions"] for row in found] == ["2", "1", "0", ""]
    assert [row["area"] for row in found] == ["6.250", "2.250", "0.000", ""]
    assert region_rows(tmp_path) == [
        {"path": "'=a.png", "region": "1", "x0": "10", "y0": "20", "x1": "14", "y1": "25",
         "area_px": "16", "area_mm2": "4.00", "peak": "0.750000"},
        {"path": "'=a.png", "region": "2", "x0": "0", "y0": "0", "x1": "3", "y1": "3",
         "area_px": "9", "area_mm2": "2.25", "peak": "0.500000"},
        {"path": "b.png", "region": "1", "x0": "0", "y0": "0", "x1": "3", "y1": "3",
         "area_px": "9", "area_mm2": "", "peak": "0.500000"},
    ]  # fmt: skip
    drawn, plain = (
        np.asarray(Image.open(tmp_path / row["picture"]).convert("RGB")) for row in found[1:3]
    )
    assert drawn.shape == plain.shape and (drawn != plain).any()


def test_without_a_threshold_no_regions_are_looked_for_and_none_of_before_stay(tmp_path):
    region = Region((0, 0, 3, 3), 9, 0.0225, (1.0, 1.0), 0.5)
    write_predictions([outlined("a.png", [region])], tmp_path)
    assert len(region_rows(tmp_path)) == 1
    written = write_predictions([prediction("1.png", "", 0.2)], tmp_path)
    assert written.outlined is None
    (row,) = rows(tmp_path)
    assert (row["n_regions"], row["area"]) == ("", "")
    assert region_rows(tmp_path) == []
