import csv
import re

import numpy as np
import pytest

from a2bgan.benchmark.detection_table import (
    TRIVIAL,
    Repeat,
    _plot,
    make_table,
    scores_of,
    write_tables,
)
from a2bgan.benchmark.text_tables import MethodRow
from a2bgan.detection.measures.delong import compare_aurocs
from a2bgan.detection.measures.matched_auroc import matched_auroc
from a2bgan.detection.measures.metrics import auroc
from a2bgan.errors import InputError
from a2bgan.training.methods.method import Facts

N = 80
LABELS = np.repeat((0, 1), N // 2)
PATIENTS = np.array([f"p{i}" for i in range(N)])
PATHS = [f"{i}.png" for i in range(N)]


def repeat(shift: float, seed: int, **measures: object) -> Repeat:
    scores = np.random.default_rng(seed).normal(size=N) + shift * LABELS
    metrics = {"auroc": auroc(LABELS, scores), "auprc": 0.5, "score": "mean", "n_normal": N // 2}
    metrics |= {"n_abnormal": N // 2, "images_per_second": 10.0, **measures}
    resources = {"training_seconds": 60.0, "peak_memory": 2_000_000_000, "peak_gpu_memory": None}
    return Repeat(metrics, resources, PATHS, LABELS, scores, PATIENTS)


def rows() -> list[MethodRow]:
    ours = MethodRow("a2bgan", Facts("A2B-GAN", "x"), [repeat(2, 0), repeat(2, 1)])
    weak = MethodRow("weak", Facts("Weak & co", "y"), [repeat(0.2, 2), repeat(0.2, 3)])
    broken = MethodRow("broken", Facts("Broken", "z"), [], "out of memory")
    return [weak, broken, ours]


def test_best_first_failures_last_and_p_values_of_mean_aurocs() -> None:
    made = make_table(rows())
    head = made.head
    table = [dict(zip(head, line, strict=True)) for line in made.cells]
    assert [line["method"] for line in table] == ["A2B-GAN", "Weak & co (weak)", "Broken (broken)"]
    weak, _, ours = rows()
    expected = np.mean([r.metrics["auroc"] for r in weak.repeats])
    assert table[1]["AUROC (95 %)"].startswith(f"{expected:.4f} (")
    found = compare_aurocs(LABELS, scores_of(weak), scores_of(ours), PATIENTS)
    assert found.aurocs == pytest.approx((weak.mean("auroc"), ours.mean("auroc")))
    assert float(table[1]["p against A2B-GAN"]) == pytest.approx(found.p_value, rel=0.1)
    assert table[0]["p against A2B-GAN"] == ""
    assert table[1]["memory, GB"] == "2.00"
    assert table[2]["note"] == "failed: out of memory"
    assert "pixel AP" not in head and "GPU, GB" not in head


def test_columns_that_one_method_has_are_there_for_all() -> None:
    with_maps = MethodRow("m", Facts("M", "x"), [repeat(1, 0, pixel_ap=0.25)])
    made = make_table([with_maps, *rows()])
    head, cells = made.head, made.cells
    assert [dict(zip(head, line, strict=True))["pixel AP"] for line in cells].count("0.2500") == 1


def test_position_alone_is_a_line_below_the_methods_with_maps(tmp_path) -> None:
    alone = {"pixel_auroc": 0.84, "pixel_ap": None, "within_image_auroc": 0.8, "hit_rate": 0.3}
    measures = {"pixel_auroc": 0.8, "pixel_ap": 0.2, "hit_rate": 0.25, "position_alone": alone}
    good = {**measures, "within_image_auroc": 0.9, "position_matched_auroc": 0.7}
    bad = {**measures, "within_image_auroc": 0.7, "position_matched_auroc": 0.6}
    named = [
        MethodRow("one", Facts("One", "x"), [repeat(1, 0, **bad)]),
        MethodRow("two", Facts("Two", "x"), [repeat(3, 1, **good), repeat(3, 2, **bad)]),
    ]
    made = make_table([*named, *rows()])
    lines = [dict(zip(made.head, line, strict=True)) for line in made.cells]
    (guess,) = [line for line in lines if line["method"] == "position alone"]
    assert {name: cell for name, cell in guess.items() if cell} == {
        "method": "position alone",
        "pixel AUROC": "0.8400",
        "within-image AUROC": "0.8000",
        "hit rate": "0.3000",
        "position-matched AUROC": "0.5000",
    }
    assert [line["method"] for line in lines[-2:]] == ["position alone", "Broken (broken)"]
    of = {line["method"]: line for line in lines}
    assert of["Two (two)"]["position-matched AUROC"] == "0.6500"
    assert of["One (one)"]["note"] == "map no better than position alone"
    assert of["Two (two)"]["note"] == "map no better than position alone in 1 of 2"
    assert of["A2B-GAN"]["note"] == of["A2B-GAN"]["hit rate"] == ""
    text = write_tables(tmp_path, made, "a2bgan benchmark")[1].read_text()
    assert "0.5 for what knows position alone" in text and "| position alone |" in text
    assert "position alone" not in write_tables(tmp_path, make_table(rows()), "x")[1].read_text()


def test_other_test_images_are_refused() -> None:
    one, _, other = rows()
    moved = [Repeat(r.metrics, r.resources, PATHS[::-1], LABELS, r.scores, PATIENTS) for r in
             other.repeats]  # fmt: skip
    with pytest.raises(InputError, match="same test images"):
        make_table([one, MethodRow("a2bgan", other.facts, moved)])


def trivial() -> MethodRow:
    one = repeat(1, 7)
    one.metrics["score"] = "mean brightness"
    return MethodRow(TRIVIAL, Facts("Best trivial statistic", "", ""), [one])


def test_with_a_trivial_row_every_method_is_matched_by_it(tmp_path) -> None:
    assert "matched AUROC (95 %)" not in make_table(rows()).head
    baseline = trivial()
    made = make_table([*rows(), baseline])
    table = {line[0]: dict(zip(made.head, line, strict=True)) for line in made.cells}
    itself = table["Best trivial statistic"]
    assert itself["matched AUROC (95 %)"].startswith("0.5000 (")
    ours = rows()[2]
    expected = matched_auroc(LABELS, scores_of(ours), baseline.repeats[0].scores, PATIENTS)
    assert table["A2B-GAN"]["matched AUROC (95 %)"].startswith(f"{expected.auroc:.4f} (")
    text = write_tables(tmp_path, made, "a2bgan benchmark")[1].read_text()
    assert "normal ones that are alike in mean brightness" in text


def test_a_trivial_row_of_other_images_is_left_out() -> None:
    one = trivial().repeats[0]
    moved = Repeat(one.metrics, one.resources, PATHS[::-1], LABELS, one.scores, PATIENTS)
    made = make_table([*rows(), MethodRow(TRIVIAL, trivial().facts, [moved])])
    assert made.cells == make_table(rows()).cells


def test_files_hold_the_same_cells(tmp_path) -> None:
    made = make_table(rows())
    head, cells = made.head, made.cells
    paths = write_tables(tmp_path, made, "a2bgan benchmark --data x")
    with paths[0].open(newline="") as file:
        assert list(csv.reader(file)) == [head, *cells]
    markdown = paths[1].read_text()
    assert markdown.startswith("`a2bgan benchmark --data x`")
    assert markdown.count("\n| ") == len(cells) + 2
    latex = paths[2].read_text()
    assert "Weak \\& co" in latex and "95 \\%" in latex
    body = re.findall(r"^(.*) \\\\$", latex, re.M)
    assert len(body) == len(cells) + 1
    assert all(line.replace("\\&", "").count("&") == len(head) - 1 for line in body)
    assert paths[3].read_bytes().startswith(b"\x89PNG")


def test_the_plot_tells_untrained_features_apart(tmp_path) -> None:
    padim = MethodRow("padim", Facts("PaDiM", "x", "max"), [repeat(1, 0, note="random features")])
    axes = _plot(make_table([padim, *rows()])).axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "A2B-GAN", "PaDiM (untrained)", "Weak & co",
    ]  # fmt: skip
