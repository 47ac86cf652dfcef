"""The interface, asked as a browser does."""

import asyncio
import csv
import io
import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from fastapi import HTTPException
from PIL import Image
from scipy.ndimage import gaussian_filter, label
from skimage.draw import polygon
from starlette.testclient import TestClient

from a2bgan.data.manifest import read_manifest
from a2bgan.data.preprocessing import load_image, shown_range
from a2bgan.detection.audit.familiarity import learn_familiarity
from a2bgan.detector import Detector
from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app
from a2bgan.serving.reading_room.cases import find_cases, open_cases
from a2bgan.serving.reading_room.films import SentPictures
from a2bgan.serving.reading_room.verdicts import Verdicts


def names(client, **query):
    return [case["number"] for case in client.get("/api/cases", params=query).json()["cases"]]


def png(image):
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return file.getvalue()


def test_the_worklist_is_sorted_paged_searched_and_filtered(client):
    found = client.get("/api/cases", params={"limit": 10}).json()
    assert found["total"] == 40
    assert [case["number"] for case in found["cases"]] == list(range(38, 28, -1))
    # The one without a score comes last, whatever the order.
    assert names(client, offset=38) == [0, 39]
    assert names(client, sort="score", limit=3) == [0, 1, 2]
    assert names(client, sort="score", offset=39) == [39]
    assert names(client, q="SCAN-0007") == [7]
    assert names(client, q="scan-000 patient-3") == [7, 6]
    assert set(names(client, q="patient-4")) == {8, 9}
    assert names(client, show="failed") == [39]
    assert names(client, q="no such") == []


def test_flags_follow_the_rate_and_tell_what_changed_side(client, room):
    start = client.get("/api/cases", params={"limit": 500}).json()["cases"]
    # 39 calibration patients: p <= 0.05 is above the second highest; patients have two images.
    p = room.calibration.p_values(
        [c["patient"] for c in start if c["score"] is not None],
        np.array([c["score"] for c in start if c["score"] is not None]),
    )
    flagged = {c["number"] for c, v in zip(start, p, strict=False) if v <= 0.05 + 1e-9}
    assert {c["number"] for c in start if c["flagged"]} == flagged
    assert not any(c["changed"] for c in start)
    looser = client.get("/api/cases", params={"limit": 500, "rate": 0.2}).json()["cases"]
    more = {c["number"] for c in looser if c["flagged"]}
    assert more > flagged
    assert set(names(client, rate=0.2, show="changed")) == more - flagged
    assert set(names(client, rate=0.2, show="flagged")) == more
    assert set(names(client, rate=0.2, show="unflagged")) == set(range(39)) - more


def test_the_room_says_what_the_slider_needs(client):
    about = client.get("/api/room").json()
    points = about["points"]
    assert points[0] == {"rate": 0, "worst": 0, "threshold": None, "flagged": 0}
    assert [p["rate"] for p in points] == [k / 40 for k in range(21)]
    for point in points:
        found = client.get("/api/cases", params={"rate": point["rate"], "show": "flagged"}).json()
        assert found["total"] == point["flagged"]
        assert point["worst"] >= point["rate"]


def test_a_picture_without_its_file_is_what_the_network_saw_and_says_so(client, room, unpacked):
    about, planes, levels = unpacked(client.get("/api/cases/5/picture").content)
    stored = np.load(room.folder / "cases/planes.npy")[5]
    np.testing.assert_array_equal(planes, stored)
    np.testing.assert_array_equal(levels, stored[0])
    film = about["film"]
    assert film["size"] == "32 × 32, as the network sees it (the file is no longer there)"
    assert film["place"] == [[0, 0, 32, 32], [0, 0, 32, 32]]
    assert not film["enlarged"]
    assert about["peak"] == room.cases.cases[5].peak
    picture = Image.open(io.BytesIO(client.get("/api/cases/5/thumbnail").content))
    np.testing.assert_array_equal(np.asarray(picture), planes[0] >> 8)
    assert client.get("/api/cases/39/picture").status_code == 404


def test_a_picture_has_the_pixels_and_the_depth_of_its_file(room, tmp_path, unpacked):
    pixels = np.random.default_rng(0).integers(0, 4096, (300, 200)).astype(np.uint16)
    folder = tmp_path / "films"
    folder.mkdir()
    for k in range(2):
        Image.fromarray(pixels + k).save(folder / f"{k}.tif")
    inputs = find_cases(room.run, str(folder))
    cases = open_cases(room.folder, room.trained, inputs)
    app = make_app(replace(room, cases=cases), Access("127.0.0.1", 8080))
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        answer = client.get("/api/cases/1/picture")
        about, _, levels = unpacked(answer.content)
        np.testing.assert_array_equal(levels, pixels + 1)
        film = about["film"]
        assert (film["size"], film["offset"], film["step"]) == ("200 × 300", 0, 1)
        assert film["place"] == [[0, 50, 200, 250], [0, 0, 32, 32]]
        assert film["window"] == pytest.approx(shown_range(pixels + 1, room.trained.data))
        assert str(tmp_path).encode() not in answer.content
        # Another file in its place is not what was scored.
        Image.fromarray(pixels[:100]).save(folder / "1.tif")
        about, planes, levels = unpacked(client.get("/api/cases/1/picture").content)
        assert "the file has changed since it was scored" in about["film"]["size"]
        np.testing.assert_array_equal(levels, planes[0])


def test_pictures_on_their_way_share_a_bounded_memory():
    async def fill() -> list[int]:
        sent = SentPictures(most=100, wait=0.05)
        first = await sent.when_there_is_room(bytes(80))
        assert first.body == bytes(80)
        codes = []
        try:
            await sent.answer(lambda: bytes(30))
        except HTTPException as error:
            codes.append(error.status_code)
        messages = []

        async def send(message):
            messages.append(message)

        await first({"type": "http"}, None, send)
        codes.append((await sent.answer(lambda: bytes(300))).status_code)  # alone it may be larger
        return codes

    assert asyncio.run(fill()) == [503, 200]


def test_contours_are_those_that_predict_draws(room, client, unpacked):
    assert client.get("/api/room").json()["contour"] is None
    assert unpacked(client.get("/api/cases/5/picture").content)[0]["contours"] == []
    peak = room.cases.cases[5].peak
    planes = np.load(room.folder / "cases/planes.npy")[5]
    smooth = gaussian_filter(planes[2].astype(np.float64), 3)
    planes[2] = np.rint(smooth / smooth.max() * 65535)
    room.cases._planes = np.where(np.arange(40)[:, None, None, None] == 5, planes, 0)
    threshold = 0.9 * peak
    calibration = replace(room.calibration, pixel_threshold=threshold)
    app = make_app(replace(room, calibration=calibration), Access("127.0.0.1", 8080))
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        assert client.get("/api/room").json()["contour"] == {"rate": 0.05, "colour": "#ffd400"}
        lines, none = (
            unpacked(client.get(f"/api/cases/{k}/picture").content)[0]["contours"] for k in (5, 6)
        )
        assert none == []
    # Inside of the lines are the pixels of the regions, counted another way.
    drawn = np.zeros((32, 32), dtype=bool)
    for line in lines:
        assert line[0] == line[-1]
        rows, columns = polygon([y - 0.5 for _, y in line], [x - 0.5 for x, _ in line])
        inside = (rows >= 0) & (rows < 32) & (columns >= 0) & (columns < 32)
        drawn[rows[inside], columns[inside]] ^= True
    values = planes[2] / 65535 * peak
    number, _ = label(values > threshold / 2)
    seeds = np.unique(number[values > threshold])
    assert drawn.sum() > 3
    np.testing.assert_array_equal(drawn, np.isin(number, seeds[seeds > 0]))


def test_verdicts_come_back_survive_and_become_labels(client, room):
    url = "/api/cases/{}/verdict"
    for number, answer, note in (
        (3, "normal", ""),
        (8, "abnormal", "=left, base\nsee CT"),
        (9, "unsure", ""),
        (10, None, "later"),
        (11, "normal", ""),
    ):
        row = client.put(url.format(number), json={"answer": answer, "note": note}).json()
        assert (row["answer"], row["note"]) == (answer, note)
    client.put(url.format(11), json={"answer": None, "note": " "})
    assert names(client, show="abnormal") == [8]
    assert names(client, show="unsure") == [9]
    assert set(range(40)) - set(names(client, show="unread", limit=500)) == {3, 8, 9}
    again = Verdicts(room.folder / "verdicts.sqlite")
    assert again.get(f"{8:064x}").note == "=left, base\nsee CT"
    assert again.get(f"{11:064x}") is None
    again.close()

    answer = client.get("/api/verdicts.csv")
    assert "attachment" in answer.headers["content-disposition"]
    rows = {row["path"]: row for row in csv.DictReader(io.StringIO(answer.text))}
    assert set(rows) == {f"images/scan-{k:04d}.png" for k in (3, 8, 9, 10)}
    assert rows["images/scan-0008.png"]["note"].startswith("'=")  # no formula for a spreadsheet
    file = room.folder / "verdicts.csv"
    file.write_text(answer.text)
    labels = {row.name: (row.label, row.patient_id) for row in read_manifest(file).rows}
    assert labels == {
        "images/scan-0003.png": (0, "patient-1"),
        "images/scan-0008.png": (1, "patient-4"),
        "images/scan-0009.png": (None, "patient-4"),
        "images/scan-0010.png": (None, "patient-5"),
    }


def test_a_full_disk_is_said_and_nothing_is_pretended(client, room):
    room.verdicts._connection.execute("PRAGMA max_page_count = 2")
    answer = None
    for number in range(39):
        body = {"answer": "normal", "note": f"{number}" * 900}
        answer = client.put(f"/api/cases/{number}/verdict", json=body)
        if answer.status_code != 200:
            break
    assert answer.status_code == 507
    assert "disk is full" in answer.json()["error"]
    assert client.get(f"/api/cases/{number}").json()["answer"] is None


def test_a_dropped_file_is_scored_like_any_other(client, run, make_texture, tmp_path, unpacked):
    image = make_texture(3)
    (tmp_path / "image.png").write_bytes(png(image))
    answer = client.post("/api/uploads?suffix=.png", content=png(image))
    found, planes, levels = unpacked(answer.content)
    np.testing.assert_array_equal(levels, image)
    detector = Detector.load(run)
    data = detector.trained_.data
    assert found["score"] == pytest.approx(detector.score(tmp_path / "image.png")[0], rel=1e-5)
    planes = planes / 65535
    twin = detector.translate(tmp_path / "image.png")[0, 0]
    np.testing.assert_allclose(planes[1], twin, atol=1e-4)
    (judged,) = detector.trained_.detect_images(load_image(tmp_path / "image.png", data)[None])
    np.testing.assert_allclose(planes[2] * found["peak"], judged.anomaly_map[0], atol=1e-4)
    assert found["contours"] == []


def test_what_cannot_be_scored_is_said_in_a_few_words(client, make_texture):
    def refused(content, suffix=".png"):
        answer = client.post("/api/uploads", params={"suffix": suffix}, content=content)
        return answer.status_code, answer.json()["error"]

    good = png(make_texture(0))
    assert refused(b"") == (422, "empty file")
    assert refused(good[:300]) == (422, "truncated file")
    assert refused(png(np.full((40, 40), 9, np.uint8))) == (422, "constant image")
    assert refused(good, ".exe")[0] == 415
    assert refused(good, "../x.png")[0] in (415, 422)
    for suffix in (".nii", ".nii.gz"):
        status, reason = refused(good, suffix)
        assert (status, "`a2bgan predict` scores volumes" in reason) == (415, True)
    offered = client.get("/api/room").json()["suffixes"]
    assert ".png" in offered and not [suffix for suffix in offered if ".nii" in suffix]
    status, reason = refused(png(np.zeros((600, 600), np.uint8)))
    assert (status, "too large" in reason) == (422, True)


def test_the_report_is_written_and_shown_without_rights(client, room):
    assert client.get("/report").status_code == 404
    assert client.post("/api/report").status_code == 204
    answer = client.get("/report")
    assert "a2bgan report" in answer.text
    policy = answer.headers["content-security-policy"]
    assert "script-src" not in policy
    assert "sandbox" in policy
    assert answer.headers["x-frame-options"] == "DENY"
    assert not (room.run.path / "report.html").exists()


def test_a_report_that_cannot_be_written_names_no_file(client, room):
    source = room.run.manifest_source_file
    text = source.read_text()
    try:
        source.write_text('{"root": "/gone/patient-9", "sha256": ""}')
        answer = client.post("/api/report")
    finally:
        source.write_text(text)
    assert answer.status_code == 409
    assert "patient-9" not in answer.text


def test_training_is_shown_while_it_runs(client, room):
    found = client.get("/api/training").json()
    assert found["steps"] == [2, 4, 6]
    assert found["fraction"] == 1.0
    assert found["ended"]
    assert all(len(values) == 3 for values in found["values"].values())


def test_the_room_says_what_is_doubtful_and_which_cases_are_of_another_kind(room):
    image = room.cases.image(3)
    rng = np.random.default_rng(0)
    others = np.stack([room.cases.image(k) for k in range(39)])
    learned = np.clip(np.repeat(others, 3, 0) * rng.uniform(0.9, 1.1, (117, 1, 1, 1)), 0, 65535)
    known = learn_familiarity(learned.astype(np.uint16), np.arange(117).astype(str))
    strange = known.unfamiliar(np.stack([image, np.zeros_like(image)]))
    assert strange.tolist() == [False, True]
    scores = np.array([*range(24), 500.0])
    calibration = replace(room.calibration, familiarity=known, patient_scores=scores)
    room.run.selection_file.parent.mkdir(parents=True, exist_ok=True)
    room.run.selection_file.write_text(
        json.dumps({"pick": asdict(calibration.pick), "doubts": ["3 steps are too few"]})
    )
    app = make_app(replace(room, calibration=calibration), Access("127.0.0.1", 8080))
    with TestClient(app, base_url="http://127.0.0.1:8080") as client:
        about = client.get("/api/room").json()
        assert about["doubts"] == ["3 steps are too few"]
        assert about["outliers"].startswith("outliers set the threshold")
        cases = client.get("/api/cases", params={"sort": "number"}).json()["cases"]
        found = known.unfamiliar(others)
        assert [case["unfamiliar"] for case in cases[:39]] == found.tolist()
        assert not cases[39]["unfamiliar"]  # it could not be read
