import base64
import csv
import io
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image, ImageFile

from a2bgan.data.formats.reading import read_picture
from a2bgan.data.holdout import Holdout
from a2bgan.data.manifest import Manifest
from a2bgan.data.open_data import open_data
from a2bgan.detection.audit.score_audit import Dependence, ScoreAudit
from a2bgan.detection.decisions.calibration import Calibration
from a2bgan.detection.examination import examine
from a2bgan.detection.measures.localisation import MapMeasures
from a2bgan.detection.pick import Pick
from a2bgan.detection.trained_model import load_trained
from a2bgan.errors import InputError
from a2bgan.report import case_pictures, html_report
from a2bgan.report.case_names import CaseNames
from a2bgan.report.case_pictures import CasePages
from a2bgan.report.html_report import write_report
from a2bgan.report.pdf import require_pdf
from a2bgan.training.config import load_config
from a2bgan.training.run_folder import RunFolder


class References(HTMLParser):
    """Everything a page would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.headings: list[str] = []
        self.open: list[str] = []
        self.places: set[str] = set()

    def handle_starttag(self, tag, attrs):
        if tag == "script":
            self.found.append("script")
        self.found += [value for name, value in attrs if name in ("src", "href")]
        self.places |= {value for name, value in attrs if name == "id"}
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data)


@pytest.fixture
def page(run, tmp_path):
    write_report(examine(RunFolder.open(run)), tmp_path / "report.html")
    return (tmp_path / "report.html").read_text("utf-8")


def test_it_needs_nothing_else_and_is_well_formed(page):
    parser = References()
    parser.feed(page)
    assert parser.open == []
    anchors = {reference[1:] for reference in parser.found if reference.startswith("#")}
    assert anchors <= parser.places
    others = [reference for reference in parser.found if not reference.startswith("#")]
    assert all(reference.startswith("data:image/") for reference in others)
    assert len(others) > 10
    assert "url(" not in page
    assert "@import" not in page
    wanted = {"Is this model good?", "What does the threshold do?", "What does the score follow?"}
    wanted |= {
        "Cases",
        "Test images by score",
        "Threshold",
        "Most anomalous",
        "Where",
        "Selection",
        "Training",
        "Limits",
    }
    wanted.add("Shortcuts")
    assert "is learned less well or not at all" in page
    assert "1 held-out healthy patient is too few for a rate of 0.05" in page
    assert "Anomaly map: change that counts, share of range, 0 to 0.3 and more" in page
    assert wanted <= set(parser.headings)
    assert len(page) < 3_000_000


def test_where_shows_the_map_beside_position_alone_and_warns(run, tmp_path, monkeypatch):
    sentence = "The map does not point at lesions better than a guess of the usual place"
    for of_map, warned in ((0.75, True), (0.76, False)):
        values = iter((of_map, 0.75))  # then position alone
        monkeypatch.setattr(
            MapMeasures, "within_image_auroc", lambda measures, values=values: next(values)
        )
        write_report(examine(RunFolder.open(run)), tmp_path / "report.html")
        page = (tmp_path / "report.html").read_text("utf-8")
        where = page.partition("<h2>Where</h2>")[2].partition("<h2>")[0]
        cells = f'<td class="number">{of_map:.2f}</td><td class="number">0.75</td>'
        assert f'<th scope="row">AUROC of pixels within an image</th>{cells}' in where
        assert f'<p class="warning">{sentence}' in page or not warned
        assert (sentence in page) == warned


def test_it_names_no_patient_and_no_file_and_leaves_a_key(run, page, tmp_path):
    manifest = RunFolder.open(run).manifest()
    names = {row.name for row in manifest.rows} | {row.patient_id for row in manifest.rows}
    text = re.sub(r'"data:image[^"]*"', "", page)
    assert not [name for name in names if name in text]
    assert str(manifest.root) not in text
    assert "report-key.csv" in text
    with (tmp_path / "report-key.csv").open(newline="") as file:
        key = {row["name"]: row["patient_id"] for row in csv.DictReader(file)}
    held_out = Holdout.read(RunFolder.open(run).holdout_file)
    shown = [*manifest.split("test"), *held_out.rows(manifest, "healthy", "calibration")]
    assert sorted(key.values()) == sorted(row.patient_id for row in shown)
    shown = re.findall(r"<strong>(patient \d+)</strong></a> · ", text)
    assert len(shown) == len(set(shown)) > 3
    assert set(shown) <= set(key)
    listed = re.findall(r"<tr><td>(?:<a href=\"#([a-z0-9-]+)\">)?(patient \d+)", text)
    assert len(listed) == len(manifest.split("test"))
    assert {name for anchor, name in listed if anchor} <= set(shown)


def test_the_highest_scores_are_listed_first_and_the_others_folded(run, tmp_path, monkeypatch):
    monkeypatch.setattr(case_pictures, "UNFOLDED", 4)
    found = examine(RunFolder.open(run))
    write_report(found, tmp_path / "report.html", show_ids=True)
    page = (tmp_path / "report.html").read_text("utf-8")
    first, _, folded = page.partition('id="list"')[2].partition("<details><summary>8 with lower")
    folded = folded.partition("</details>")[0]
    # Paper has no triangle to open them with.
    assert "details::details-content { content-visibility: visible; }" in page
    line = r"<tr><td>(?:<a href=\"#[^>]+>)?([^<]+).*?<td class=\"number\">([\d.]+)</td>"
    shown, others = re.findall(line, first), re.findall(line, folded)
    scores = [float(score) for _, score in shown]
    assert scores == sorted(scores, reverse=True) and len(scores) == 4
    assert max(float(score) for _, score in others) <= scores[-1]
    assert len({name for name, _ in shown + others}) == len(found.test.rows) == 12


def test_settings_that_are_files_are_shown_by_name(run, tmp_path):
    folder = RunFolder.open(run)
    trained = load_trained(folder)
    other = load_config("padim", None, ["method.backbone_weights=/home/NAME/resnet.pth"])
    config = trained.config.model_copy(update={"method": other.method})
    write_report(
        replace(examine(folder), trained=replace(trained, config=config)), tmp_path / "report.html"
    )
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "backbone_weights: resnet.pth" in page
    assert "NAME" not in page


def test_identifiers_are_shown_on_request(run, tmp_path):
    (tmp_path / "ids.html").write_text("the one before")
    with (tmp_path / "ids.html").open() as before:
        write_report(examine(RunFolder.open(run)), tmp_path / "ids.html", show_ids=True)
        assert before.read() == "the one before"  # for who reads it meanwhile
    assert [path.name for path in tmp_path.iterdir()] == ["ids.html"]  # no key
    page = (tmp_path / "ids.html").read_text("utf-8")
    assert any(r.patient_id in page for r in RunFolder.open(run).manifest().split("test"))


def test_a_run_without_labels_or_threshold_is_reported_too(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    for name in ("calibration.json", "selection.json"):
        (copy / name).unlink()
    manifest = RunFolder.open(copy).manifest()
    kept = tuple(row for row in manifest.rows if row.split != "test")
    RunFolder.open(copy).keep_manifest(replace(manifest, rows=kept))
    write_report(examine(RunFolder.open(copy)), tmp_path / "bare.html")
    page = (tmp_path / "bare.html").read_text("utf-8")
    assert "Nothing was selected: this is the last checkpoint." in page
    assert "No threshold was set" in page
    assert "Detection on the labelled" not in page
    assert "bare-key.csv" in page
    assert (tmp_path / "bare-key.csv").stat().st_mode & 0o077 == 0


def test_the_score_is_asked_of_healthy_patients_that_nothing_was_learned_from(
    run, tmp_path, monkeypatch
):
    """Held out, and normal in the run's own test; of another data set's test nobody."""
    asked: list[set[str]] = []

    def audit(rows, scores, config, rule):
        assert len(rows) == len(scores)
        asked.append({row.name for row in rows})
        return ScoreAudit([Dependence("sharpness", 0.9, (0.8, 1.0))], len(rows), len(rows))

    monkeypatch.setattr("a2bgan.detection.examination.audit_score", audit)
    copy = RunFolder(shutil.copytree(run, tmp_path / "run"))
    manifest, holdout = copy.manifest(), Holdout.read(copy.holdout_file)
    held_out = {row.name for row in holdout.rows(manifest, "healthy", "calibration")}
    test = manifest.split("test")
    sick = next(row for row in test if row.label == 1)
    normal = [row for row in test if row.label == 0]
    write_report(examine(copy), tmp_path / "a.html")
    write_report(examine(copy, open_data(manifest.root)), tmp_path / "b.html")
    assert asked == [held_out | {row.name for row in normal}, held_out]
    section = (tmp_path / "a.html").read_text("utf-8").partition("<h2>Shortcuts")[2]
    assert "the score of healthy images follows the sharpness" in section
    assert "0.90 (0.80 to 1.00) *" in section
    # A patient with disease in another image, and one that was trained on, are neither.
    trained = manifest.split("mixed")[0]
    other = {normal[0].name: sick.patient_id, normal[1].name: trained.patient_id}
    changed = [replace(r, patient_id=other.get(r.name, r.patient_id)) for r in manifest.rows]
    monkeypatch.setattr(RunFolder, "manifest", lambda self: Manifest(tuple(changed), manifest.root))
    write_report(examine(copy), tmp_path / "c.html")
    assert asked[2] == held_out | {row.name for row in normal[2:]}


def test_shortcuts_are_in_it_and_may_be_looked_for_in_vain(run, page, tmp_path):
    section = page[page.index("<h2>Shortcuts") : page.index("<h2>Limits")]
    for cell in ("mean brightness", "bytes per pixel", "Too few patients to name any."):
        assert cell in section
    assert "What the score follows was not asked" in section
    # The mixed images have gone; those of the test are there.
    copy = shutil.copytree(run, tmp_path / "run")
    manifest = RunFolder.open(run).manifest()
    data = shutil.copytree(manifest.root, tmp_path / "data")
    for row in manifest.split("mixed"):
        (data / row.name).unlink()
    source = RunFolder(copy).manifest_source_file
    source.write_text(source.read_text().replace(str(manifest.root), str(data)))
    write_report(examine(RunFolder.open(copy)), tmp_path / "gone.html")
    assert "Not looked for: the healthy or the mixed images cannot be read." in (
        tmp_path / "gone.html"
    ).read_text("utf-8")


def test_a_place_that_cannot_be_written(run, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        write_report(examine(RunFolder.open(run)), tmp_path / "no" / "report.html")


NBSP = "\N{NO-BREAK SPACE}"


@pytest.mark.parametrize(("rate", "said"), [(0.005, "0.5"), (0.025, "2.5"), (0.07, "7")])
def test_rates_are_said_as_they_are(rate, said):
    scores = np.linspace(0, 1, 999)
    words = {999: f"at most {said}{NBSP}% of healthy", 5: f"at a rate of {said}{NBSP}%: too few"}
    for count, wanted in words.items():
        few = [scores[:count]] * 4
        pick = Pick("step-00000001", "ema", "mean", "aucp")
        calibration = Calibration(pick, *few, np.arange(count))
        (sentence,) = html_report._threshold_sentences(calibration, rate)
        assert wanted in sentence


def test_the_title_says_what_it_is_and_the_films_are_there(page, run):
    folder = RunFolder.open(run)
    title = page.partition("<h1>")[2].partition("</h1>")[0]
    assert title.startswith(f"Report on {run.name}: ")
    assert title.endswith(f"trained on {folder.manifest().root.name}")
    assert re.search(r"Written on \d{4}-\d\d-\d\d by a2bgan", page)
    # A film is in the page once, with the size of its file, however often it is shown.
    row = folder.manifest().split("test")[0]
    height, width = read_picture(row.path, folder.config().data.read_options).values.shape[:2]
    films = re.findall(r'<image id="(film-[a-z0-9-]+)" href="(data:[^"]*)" width="(\d+)"', page)
    assert {size for _, _, size in films} == {str(width)}
    assert len({uri for _, uri, _ in films}) == len(films)
    for name, uri, _ in films:
        with Image.open(io.BytesIO(base64.b64decode(uri.partition(",")[2]))) as film:
            assert film.size == (width, height)
        assert page.count(f'<use href="#{name}"') == 2
    assert "labelled abnormal · score" in page and "labelled normal · score" in page


def test_large_films_keep_their_size(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    manifest = RunFolder.open(run).manifest()
    data = shutil.copytree(manifest.root, tmp_path / "data")
    for row in manifest.split("test"):
        with Image.open(row.path) as image:
            image.resize((140, 140)).save(data / row.name)
    source = RunFolder(copy).manifest_source_file
    source.write_text(source.read_text().replace(str(manifest.root), str(data)))
    found = examine(RunFolder.open(copy))
    names = CaseNames(found.test.rows, show_ids=False)
    pages = CasePages(found.trained, None, names, 0.05)
    (sight,) = pages._sights(found.test.rows[:1])
    assert (sight.width, sight.height, sight.note) == (140, 140, "140 × 140")
    assert sight.film.startswith("data:image/png;base64,")
    assert (sight.anomaly_map.width, sight.anomaly_map.height) == (140, 140)


def test_a_report_can_be_a_pdf(run, tmp_path):
    try:
        require_pdf()
    except InputError as error:
        pytest.skip(str(error))
    write_report(examine(RunFolder.open(run)), tmp_path / "report.pdf")
    content = (tmp_path / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES  # which WeasyPrint sets
    assert len(content) > 50_000


def test_without_weasyprint_one_line_says_what_to_install(run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "weasyprint", None)
    with pytest.raises(InputError, match=r"pip install '\.\[pdf\]'"):
        require_pdf()
