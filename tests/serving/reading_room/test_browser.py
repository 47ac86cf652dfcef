"""The pages in a real browser: every control, at both widths, with nothing fetched from outside."""

import re
import shutil
import socket
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
import uvicorn
from PIL import Image

from a2bgan.serving.reading_room.access import Access
from a2bgan.serving.reading_room.app import make_app
from a2bgan.serving.reading_room.cases import Pictures, find_cases, open_cases

CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextmanager
def served(room, token=None):
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        app = make_app(room, Access("127.0.0.1", port, token))
        server = uvicorn.Server(uvicorn.Config(app, log_level="critical", access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{port}/"
        finally:
            server.should_exit = True
            thread.join(10)


@pytest.fixture
def visit(browser):
    """A function that opens a room; asserts at the end that nothing went out and nothing failed."""
    outside, complaints, contexts = [], [], []

    def open_page(address, width=1280, height=800, ready=True):
        context = browser.new_context(viewport={"width": width, "height": height})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)

        def check(route):
            if route.request.url.startswith((address, "blob:")):
                route.continue_()
            else:
                outside.append(route.request.url)
                route.abort()

        page.route("**/*", check)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            # The browser tells of refused requests too, and of those after the server's end.
            lambda m: (
                complaints.append(m.text)
                if m.type == "error" and not re.search(r"status of 4|ERR_CONNECTION", m.text)
                else None
            ),
        )
        page.goto(address)
        if ready:
            page.wait_for_selector("body[data-ready]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert outside == []
    assert complaints == []


def outlined(room):
    """A room whose map of case 36 has a square, with a calibrated contour; no other has a value."""
    planes = np.array(room.cases._planes)
    planes[:, -1] = 0
    planes[36, -1, 8:24, 8:24] = 65535
    room.cases._planes = planes
    return replace(room, calibration=replace(room.calibration, pixel_threshold=0.15))


@pytest.fixture
def page(make_room, visit):
    room = make_room(230)
    calibration = replace(room.calibration, pixel_threshold=0.15)
    with served(replace(room, calibration=calibration)) as address:
        yield visit(address)


def rows(page):
    return page.eval_on_selector_all("#list li", "found => found.map(li => +li.dataset.number)")


def wait_for_rows(page, test):
    until(
        page,
        f"(() => {{ const rows = [...document.querySelectorAll('#list li')]"
        f".map(li => +li.dataset.number); return {test}; }})()",
    )


def until(page, expression, seconds=30):
    """Ask again and again: Playwright's own way evaluates strings in the page, which its policy
    forbids."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        assert time.monotonic() < end, expression
        page.wait_for_timeout(30)


def pixel(page, kind, x=0.51, y=0.52):
    """RGBA of a pane after the next picture, at a place of the image as far as it is not zoomed."""
    return page.evaluate(
        """async ([kind, x, y]) => {
          for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
          const canvas = document.querySelector(`canvas[data-kind=${kind}]`);
          const { width, height } = canvas;
          const side = Math.min(width, height);
          const place = [width / 2 + (x - 0.5) * side, height / 2 + (y - 0.5) * side];
          return [...canvas.getContext("2d").getImageData(...place.map(Math.floor), 1, 1).data];
        }""",
        [kind, x, y],
    )


def slide(page, slider, value):
    page.locator(slider).evaluate(
        "(e, v) => { e.value = v; e.dispatchEvent(new Event('input')); }", value
    )


def loaded(page):
    until(
        page,
        "() => { const c = document.querySelector('canvas[data-kind=input]');"
        "return c.width && c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1).data[3]"
        " === 255; }",
    )


def test_worklist_pages_search_filter_and_order(page):
    assert rows(page) == list(range(228, 128, -1))
    assert page.text_content("#range") == "1–100 of 230"
    page.click("#later")
    wait_for_rows(page, "rows[0] === 128")
    page.click("#earlier")
    wait_for_rows(page, "rows[0] === 228")
    page.fill("#search", "scan-0017")
    wait_for_rows(page, "rows.length === 1 && rows[0] === 17")
    page.fill("#search", "nobody")
    wait_for_rows(page, "rows.length === 0")
    assert page.text_content("#range") == "No case matches"
    page.fill("#search", "")
    page.select_option("#sort", "score")
    wait_for_rows(page, "rows[0] === 0")
    page.select_option("#show", "failed")
    wait_for_rows(page, "rows.length === 1 && rows[0] === 229")
    page.click("#list li")
    assert "damaged file" in page.text_content("#case-facts")
    page.select_option("#show", "all")
    wait_for_rows(page, "rows.length === 100")
    until(page, "document.querySelector('#list img').naturalWidth === 32")


def test_the_threshold_slider_says_what_it_costs_and_who_changes_side(page):
    assert page.text_content("#point-rate") == "at most 5\u00a0%"
    before = page.locator("li.flagged").count()
    assert f"{before} of 230 cases flagged" in page.text_content("#point-text")
    slide(page, "#point-slider", 8)
    page.wait_for_selector(".mark.changed")
    assert page.text_content("#point-rate") == "at most 20\u00a0%"
    assert "at 20\u00a0%)" in page.text_content("#case-facts")
    assert "changed side" in page.text_content("#point-text")
    page.select_option("#show", "changed")
    until(page, "document.querySelectorAll('li').length < 100")
    assert page.locator(".mark.changed").count() == page.locator("#list li").count() > 0
    slide(page, "#point-slider", 0)
    until(page, "document.querySelector('#point-rate').textContent === 'none'")
    page.select_option("#show", "flagged")
    wait_for_rows(page, "rows.length === 0")


def test_window_zoom_and_pan_by_mouse_are_linked(page):
    loaded(page)
    box = page.locator("canvas[data-kind=input]").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    settings = lambda: page.get_attribute("#panes", "data-window")  # noqa: E731
    whole = settings().split("  ")[-1]
    assert settings() == f"W 1.00  L 0.50  {whole}"
    before = pixel(page, "twin")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 200, y + 80, steps=4)
    page.mouse.up()
    assert settings() == f"W 0.50  L 0.30  {whole}"
    assert pixel(page, "twin") != before
    page.dblclick("canvas[data-kind=input]")
    assert settings() == f"W 1.00  L 0.50  {whole}"

    maps = pixel(page, "map", 0.5, 0.4)
    page.mouse.move(x, y)
    page.mouse.wheel(0, -600)
    wanted = 4.48 * float(whole.removesuffix("\u00a0%"))
    until(
        page,
        f"Math.abs(parseFloat(document.querySelector('#panes').dataset.window"
        f".split('  ')[2]) - {wanted}) < {0.01 * wanted}",
    )
    zoomed = pixel(page, "map", 0.5, 0.4)
    page.keyboard.down("Shift")
    page.mouse.down()
    page.mouse.move(x + 150, y + 90, steps=4)
    page.mouse.up()
    page.keyboard.up("Shift")
    assert settings().startswith("W 1.00  L 0.50")
    panned = pixel(page, "map", 0.5, 0.4)
    assert len({tuple(p) for p in (maps, zoomed, panned)}) == 3
    page.click("#tool-pan")
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 150, y - 90, steps=4)
    page.mouse.up()
    assert settings().startswith("W 1.00  L 0.50")
    assert pixel(page, "map", 0.5, 0.4) != panned
    page.click("#reset")
    assert settings() == f"W 1.00  L 0.50  {whole}"


def test_twin_map_threshold_and_wipe(page):
    loaded(page)
    own, twin = pixel(page, "input", 0.3, 0.52), pixel(page, "twin", 0.3, 0.52)
    slide(page, "#blend", 100)
    assert pixel(page, "input", 0.3, 0.52) == twin
    slide(page, "#blend", 50)
    middle = pixel(page, "input", 0.3, 0.52)
    assert middle[0] == pytest.approx((own[0] + twin[0]) / 2, abs=1.5)
    slide(page, "#blend", 0)
    assert page.text_content("#blend-value") == "0\u00a0%"

    slide(page, "#opacity", 100)
    painted = pixel(page, "input", 0.3, 0.52)
    assert painted != own
    assert len(set(painted[:3])) > 1  # coloured
    slide(page, "#threshold", 100)
    assert page.text_content("#threshold-value") == "0.30"
    assert pixel(page, "input", 0.3, 0.52) == own
    assert pixel(page, "map", 0.3, 0.52) == own  # the map lies over the film
    slide(page, "#threshold", 0)
    slide(page, "#opacity", 0)

    page.click("#wipe")
    box = page.locator("canvas[data-kind=input]").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.2, box["y"] + box["height"] / 2)
    assert pixel(page, "input", 0.3, 0.52) == twin
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + box["height"] / 2)
    assert pixel(page, "input", 0.3, 0.52) == own
    readouts = page.eval_on_selector_all("#panes output", "all => all.map(e => e.textContent)")
    assert readouts[0].startswith("x ")
    assert all(float(text.split()[-1]) >= 0 for text in readouts)
    page.click("#invert")
    page.mouse.move(5, 5)
    inverted = pixel(page, "input", 0.3, 0.52)
    assert inverted[0] == pytest.approx(255 - own[0], abs=1)


@pytest.mark.parametrize("width", [1280, 390])
def test_the_contour_is_drawn_over_the_picture_and_explained(make_room, visit, width):
    with served(outlined(make_room())) as address:
        page = visit(address, width, 800)
        page.click("text=scan-0036.png")
        page.wait_for_selector("#panes[data-shown='36']")
        edge, inside = (0.25, 0.52), (0.5, 0.52)
        before = pixel(page, "input", *inside)
        assert not is_yellow(pixel(page, "input", *edge))
        page.click("#contour")
        assert is_yellow(pixel(page, "input", *edge))
        assert pixel(page, "input", *inside) == before
        assert legend(page) > 0
        page.keyboard.press("l")
        assert page.get_attribute("#contour", "aria-pressed") == "false"
        assert not is_yellow(pixel(page, "input", *edge))
        assert legend(page) == 0
        page.keyboard.press("l")
        page.keyboard.press("j")  # a case without a region
        page.wait_for_selector("#panes[data-shown='35']")
        assert not is_yellow(pixel(page, "input", *edge))
        assert legend(page) > 0  # says that there is none


def test_without_a_calibrated_contour_there_is_no_control(make_room, visit):
    with served(make_room()) as address:
        page = visit(address)
        loaded(page)
        assert page.is_hidden("#contour")
        page.keyboard.press("l")
        assert legend(page) == 0


def is_yellow(colour):
    red, green, blue, _ = colour
    return red > 150 and green > 120 and blue < 100


def legend(page):
    """Yellow pixels where the legend's piece of line is."""
    return page.evaluate(
        """async () => {
          for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
          const canvas = document.querySelector("canvas[data-kind=input]");
          const caption = canvas.parentElement.querySelector("figcaption");
          const top = caption.offsetTop + caption.offsetHeight;
          const { data } = canvas.getContext("2d").getImageData(8, top + 8, 20, 10);
          return [...Array(200).keys()].filter(
            (k) => data[4 * k] > 200 && data[4 * k + 1] > 150 && data[4 * k + 2] < 80
          ).length;
        }"""
    )


@pytest.mark.parametrize("width", [1280, 390])
def test_a_large_film_is_shown_pixel_by_pixel_and_nothing_moves(make_room, visit, tmp_path, width):
    folder = tmp_path / "films"
    folder.mkdir()
    name = "a name that is far too long to be shown in a single line of a narrow list " * 2
    rng = np.random.default_rng(0)
    for k in range(2):
        film = 65535 * rng.integers(0, 2, (1000, 800))
        Image.fromarray(film.astype(np.uint16)).save(folder / f"{name}{k}.tif")
    room = make_room()
    cases = open_cases(room.folder, room.trained, find_cases(room.run, str(folder)))
    with served(replace(room, cases=cases)) as address:
        page = visit(address, width, 800)
        assert page.evaluate(
            "[...document.querySelectorAll('#list .name')].every(e => e.scrollWidth <= "
            "e.clientWidth && getComputedStyle(e).textOverflow === 'clip')"
        )
        page.click("#list li[data-number='0']")
        boxes = "[...document.querySelectorAll('#panes, #panes figure, #tools')].map(e => {"
        boxes += "const b = e.getBoundingClientRect(); return [b.x, b.y, b.width, b.height]; })"
        before = page.evaluate(boxes)
        page.wait_for_selector("#panes[data-shown='0']")
        assert page.evaluate(boxes) == before
        assert "800 × 1000" in page.text_content("#panes figcaption")
        assert page.text_content("#case-name") == page.get_attribute("#case-name", "title")
        page.keyboard.press("z")
        until(page, "document.querySelector('#panes').dataset.window.endsWith('100\u00a0%')")
        page.keyboard.press("1")
        colours = page.evaluate(
            """async () => {
              for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
              const canvas = document.querySelector("canvas[data-kind=input]");
              const { data } = canvas.getContext("2d").getImageData(0, 100, canvas.width, 1);
              return [...new Set(data.filter((_, k) => k % 4 === 0))];
            }"""
        )
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert sorted(colours)[0] == 0 and sorted(colours)[-1] == 255
        page.keyboard.press("+")  # beyond 1:1 there is nothing between black and white
        assert set(
            page.evaluate(
                """async () => {
                  for (let k = 0; k < 2; k++) await new Promise(requestAnimationFrame);
                  const canvas = document.querySelector("canvas[data-kind=input]");
                  const { data } = canvas.getContext("2d").getImageData(0, 120, canvas.width, 1);
                  return [...new Set(data.filter((_, k) => k % 4 === 0))];
                }"""
            )
        ) == {0, 255}


def test_verdict_and_note_are_kept_and_exported(page, tmp_path):
    page.click("text=scan-0226.png")
    page.click("[data-answer=abnormal]")
    until(page, "document.querySelector('#saved').textContent === 'saved'")
    page.fill("#note", "left base")
    page.click("text=scan-0225.png")  # leaving saves
    page.wait_for_selector("#case-225[aria-selected=true]")
    page.click("[data-answer=normal]")
    page.wait_for_selector("#case-225 .mark.normal")
    page.reload()
    page.wait_for_selector("body[data-ready]")
    page.click("text=scan-0226.png")
    until(page, "document.querySelector('#note').value === 'left base'")
    assert page.get_attribute("[data-answer=abnormal]", "aria-pressed") == "true"
    with page.expect_download() as download:
        page.click("#export")
    text = download.value.path().read_text()
    assert "images/scan-0226.png,test,1,patient-113,abnormal,left base" in text
    page.click("[data-answer=abnormal]")  # pressed again: taken back
    until(page, "document.querySelector('[data-answer=abnormal]').ariaPressed === 'false'")


def test_every_key_does_what_the_help_says(page):
    loaded(page)
    choosers = []
    page.on("filechooser", lambda chooser: choosers.append(chooser))
    setting = "document.querySelector('#panes').dataset.window"
    whole = page.get_attribute("#panes", "data-window").split("  ")[2]
    side = page.evaluate(
        "(({ clientWidth: w, clientHeight: h }) => Math.min(w, h))"
        "(document.querySelector('canvas[data-kind=input]'))"
    )

    def zoomed(times):
        return f"W 1.00  L 0.50  {100 * side / 32 * times:.0f}\u00a0%"

    visible = "[...document.querySelectorAll('figure')].filter(f => f.offsetParent).length"
    chosen = "document.querySelector('[aria-selected=true]')?.dataset.number"
    pressed = "document.querySelector('{}').getAttribute('aria-pressed')".format
    value = "document.querySelector('{}').value".format
    is_open = "document.querySelector('{}').open".format
    focus = "document.activeElement.id"
    view = "document.body.dataset.view"
    first = "document.querySelector('#list li').dataset.number"
    steps = [
        ("j", chosen, "227"), ("ArrowDown", chosen, "226"), ("k", chosen, "227"),
        ("ArrowUp", chosen, "228"), ("PageDown", first, "128"), ("PageUp", first, "228"),
        ("j", chosen, "227"),
        ("a", pressed("[data-answer=abnormal]"), "true"),
        ("u", pressed("[data-answer=unsure]"), "true"),
        ("n", pressed("[data-answer=normal]"), "true"),
        ("x", pressed("[data-answer=normal]"), "false"),
        (",", value("#point-slider"), "1"), (".", value("#point-slider"), "2"),
        ("1", visible, 1), ("2", visible, 1), ("3", visible, 1), ("0", visible, 3),
        ("+", setting, zoomed(1.25)), ("=", setting, zoomed(1.25**2)),
        ("-", setting, zoomed(1.25)), ("z", setting, "W 1.00  L 0.50  100\u00a0%"),
        ("r", setting, f"W 1.00  L 0.50  {whole}"),
        ("[", setting, f"W 0.95  L 0.50  {whole}"), ("]", setting, f"W 1.00  L 0.50  {whole}"),
        ("{", setting, f"W 1.00  L 0.45  {whole}"), ("}", setting, f"W 1.00  L 0.50  {whole}"),
        ("i", pressed("#invert"), "true"),
        ("p", pressed("#tool-pan"), "true"), ("t", value("#blend"), "100"),
        ("B", value("#blend"), "90"), ("b", value("#blend"), "100"),
        ("w", pressed("#wipe"), "true"), ("d", value("#opacity"), "10"),
        ("l", pressed("#contour"), "true"), ("D", value("#opacity"), "0"),
        ("m", value("#threshold"), "5"),
        ("M", value("#threshold"), "0"), ("g", view, "training"), ("g", view, "cases"),
        ("v", is_open("#report"), True), ("Escape", is_open("#report"), False),
        ("?", is_open("#help"), True), ("Escape", is_open("#help"), False),
        ("/", focus, "search"), ("Escape", focus, ""), ("e", focus, "note"), ("Escape", focus, ""),
        ("c", focus, "list"), ("f", value("#show"), "flagged"),
    ]  # fmt: skip
    for key, expression, wanted in steps:
        page.keyboard.press(key)
        until(
            page, f"({expression}) === {wanted!r}".replace("True", "true").replace("False", "false")
        )
    page.keyboard.press("+")
    page.keyboard.press("+")
    for key in "HLKJ":
        before = pixel(page, "input", 0.31, 0.37)
        page.keyboard.press(key)
        assert pixel(page, "input", 0.31, 0.37) != before, key
    page.keyboard.press("o")
    while not choosers:
        page.wait_for_timeout(30)
    tried = {key for key, _, _ in steps} | {*"HLKJ", "o"}
    known = page.evaluate(
        "import('./static/keys.js').then(m => m.KEYS.flatMap(row => [row[3], row[4]].flat()))"
    )
    assert {key for key in known if key} <= tried
    page.keyboard.press("?")
    assert page.locator("#keys dt").count() == page.evaluate(
        "import('./static/keys.js').then(m => m.KEYS.filter(row => row.length > 1).length)"
    )


def test_a_dropped_file_is_scored_and_a_bad_one_said(page, make_texture, tmp_path):
    good, bad = tmp_path / "visitor.png", tmp_path / "bad.png"
    Image.fromarray(make_texture(1)).save(good)
    bad.write_text("no image")
    page.set_input_files("#file", good)
    until(page, "document.querySelector('#case-name').textContent === 'visitor.png'")
    assert "dropped here, not kept" in page.text_content("#case-facts")
    chosen = page.locator("#list li[aria-selected=true]")
    assert chosen.count() == 1
    assert "visitor.png" in chosen.text_content() and "not kept" in chosen.text_content()
    page.click("text=scan-0226.png")
    until(page, "document.querySelector('#case-name').textContent === 'scan-0226.png'")
    page.click("#list li:first-child")  # it can be looked at again
    until(page, "document.querySelector('#case-name').textContent === 'visitor.png'")
    assert "score" in page.text_content("#case-facts")
    assert page.is_disabled("[data-answer=normal]")
    drop = """async ([name, bytes]) => {
      const data = new DataTransfer();
      data.items.add(new File([new Uint8Array(bytes)], name));
      for (const kind of ["dragenter", "drop"]) {
        document.body.dispatchEvent(new DragEvent(kind, { dataTransfer: data, bubbles: true }));
        if (kind === "dragenter" && document.querySelector("#drop").hidden) throw Error("no sign");
      }
    }"""
    page.evaluate(drop, ["second.png", list(good.read_bytes())])
    until(page, "document.querySelector('#case-name').textContent === 'second.png'")
    assert page.is_hidden("#drop")
    page.evaluate(drop, ["bad.png", list(bad.read_bytes())])
    page.wait_for_selector("#message:visible")
    assert "damaged" in page.text_content("#message")
    page.evaluate(drop, ["notes.txt", [1, 2, 3]])
    until(page, "document.querySelector('#message').textContent.includes('no image; one of')")


def test_training_and_report(page):
    page.click("[data-view=training]")
    page.wait_for_selector("#charts figure")
    assert "6" in page.text_content("#training-state")
    assert page.locator("#charts svg polyline").count() >= 3
    page.click("#open-report")
    page.click("#write-report")
    until(page, "document.querySelector('#report-state').textContent === 'Written.'", seconds=120)
    with page.context.expect_page() as opened:
        page.click("#read-report")
    report = opened.value
    report.wait_for_load_state()
    assert report.text_content("h1").startswith("Report on")
    assert report.evaluate("document.querySelector('img').naturalWidth") > 0


def test_the_token_is_asked_for_once(make_room, visit, token):
    with served(make_room(), token) as address:
        page = visit(address, ready=False)
        page.wait_for_selector("#login[open]")
        assert page.locator("#list li").count() == 0
        page.fill("#token", "not the right one")
        page.keyboard.press("Enter")
        until(page, "document.querySelector('#login-state').textContent === 'not the token'")
        page.fill("#token", token)
        page.keyboard.press("Enter")
        page.wait_for_selector("body[data-ready]")
        assert page.evaluate("document.cookie") == ""
        page.reload()
        page.wait_for_selector("body[data-ready]")


@pytest.mark.parametrize(("twin", "map_"), [(True, True), (False, True), (False, False)])
def test_methods_show_what_there_is(make_room, visit, twin, map_):
    pictures = Pictures(32, 1, twin, map_, 7.5)
    with served(make_room(pictures=pictures)) as address:
        page = visit(address)
        loaded(page)
        wanted = ["Input", *["Healthy twin"] * twin, *["Anomaly map"] * map_]
        assert page.eval_on_selector_all(
            "figcaption", "all => all.map(e => e.firstChild.data)"
        ) == (wanted)
        assert page.is_visible("#blend") == page.is_visible("#wipe") == twin
        assert page.is_visible("#opacity") == page.is_visible("#threshold") == map_
        for key in "tbwdm123":
            page.keyboard.press(key)


@pytest.mark.parametrize("width", [1280, 390])
def test_it_fits_and_can_be_read(make_room, visit, width):
    with served(make_room()) as address:
        page = visit(address, width, 800)
        fits = "document.documentElement.scrollWidth <= innerWidth"
        assert page.evaluate(fits)
        page.click("text=scan-0036.png")
        assert page.is_visible("canvas[data-kind=input]")
        assert page.is_visible("[data-answer=abnormal]")
        assert page.evaluate(fits)
        page.click("[data-answer=abnormal]")
        until(page, "document.querySelector('#saved').textContent === 'saved'")
        assert too_faint(page) == []
        if width == 390:
            assert page.is_hidden("#list")
            page.click("#back")
            assert page.is_visible("#list")
            assert too_faint(page) == []
        page.click("[data-view=training]")
        page.wait_for_selector("#charts figure")
        assert page.evaluate(fits)
        assert too_faint(page) == []
        page.click("#open-help")
        assert too_faint(page) == []


def too_faint(page):
    """Visible texts with a contrast below 4.5 : 1 (WCAG AA), disabled controls aside."""
    return page.evaluate(
        """() => {
          const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
          const linear = (c) => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
          const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
          const behind = (e) => {
            for (; e; e = e.parentElement) {
              const colour = numbers(getComputedStyle(e).backgroundColor);
              if (colour[3] !== 0) return colour;
            }
            return [0, 0, 0];
          };
          const found = [];
          for (const e of document.querySelectorAll("body *")) {
            const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim());
            if (!own || !e.checkVisibility() || e.disabled || e.tagName === "OPTION") continue;
            const [a, b] = [numbers(getComputedStyle(e).color), behind(e)].map(light);
            const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
            if (ratio < 4.5) found.push([e.textContent.trim(), ratio]);
          }
          return found;
        }"""
    )
