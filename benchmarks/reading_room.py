"""Times of the reading room with 10,000 generated cases, in a headless browser on this machine.

    python benchmarks/reading_room.py --cases 10000

Starts `a2bgan serve` in a process of its own, on a tiny run and generated cases, and uses it
through Chromium. Prints a table and writes it to docs/results/reading-room.md.
"""

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from result_page import script_parser, write_page
from upload_fuzz import train_tiny

REPEATS = 5


def main() -> None:
    parser = script_parser(__doc__, "docs/results/reading-room.md")
    parser.add_argument("--cases", type=int, default=10_000)
    args = parser.parse_args()
    lines = [
        f"# The reading room with {args.cases} cases",
        "",
        "How long does a reader wait?",
        "",
        f"`python benchmarks/reading_room.py --cases {args.cases}`",
        "",
        f"{os.cpu_count()} CPUs ({platform.machine()}), "
        f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}; images of 64 x 64, a tiny "
        f"A2B-GAN, Chromium on the same machine. Medians of {REPEATS}; each start once.",
        "",
        "| action | seconds |",
        "| --- | --- |",
    ]
    print(*lines[-2:], sep="\n")
    with tempfile.TemporaryDirectory(prefix="a2bgan-") as name:
        folder = Path(name)
        run = train_tiny(folder, size=64)
        write_images(folder / "images", args.cases)
        for what, seconds in measure(run, folder / "images"):
            lines.append(f"| {what} | {seconds:.2f} |")
            print(lines[-1], flush=True)
        size = sum(f.stat().st_size for f in (run / "reading-room").rglob("*") if f.is_file())
        lines += ["", f"The room takes {size / 1e6:.0f} MB."]
    write_page(args.out, lines)


def write_images(folder: Path, count: int) -> None:
    folder.mkdir()
    rng = np.random.default_rng(0)
    for k in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
        coarse.resize((64, 64), Image.Resampling.BICUBIC).save(folder / f"{k:05d}.png")


def measure(run: Path, images: Path) -> list[tuple[str, float]]:
    from playwright.sync_api import sync_playwright

    port = free_port()
    address = f"http://127.0.0.1:{port}/"
    command = [sys.executable, "-m", "a2bgan.cli.app", "serve", str(run), "--data", str(images)]
    command += ["--port", str(port)]
    found = []
    for what in ("first start: all cases are scored", "second start"):
        began = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(address, process)
        found.append((what, time.monotonic() - began))
        if what != "second start":
            process.terminate()
            process.wait()
    try:
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium"), args=["--no-sandbox"]
            )
            found += use(browser, address)
            browser.close()
    finally:
        process.terminate()
        process.wait()
    return found


def use(browser, address: str) -> list[tuple[str, float]]:
    paints, readies = [], []
    for _ in range(REPEATS):
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        began = time.monotonic()
        page.goto(address)
        page.wait_for_selector("body[data-ready]")
        readies.append(time.monotonic() - began)
        paints.append(
            page.evaluate(
                "performance.getEntriesByName('first-contentful-paint')[0].startTime / 1000"
            )
        )
        if len(paints) < REPEATS:
            page.close()

    def median(action: Callable[[int], None], done: str) -> float:
        times = []
        for k in range(REPEATS):
            began = time.monotonic()
            action(k)
            while not page.evaluate(done):
                time.sleep(0.002)
            times.append(time.monotonic() - began)
        return float(np.median(times))

    number = "document.querySelector('#list li')?.dataset.number"
    chosen = "document.querySelector('[aria-selected=true]')?.dataset.number"

    def changed(expression: str) -> str:
        return (
            f"(window.seen !== (window.now = {expression})) && ((window.seen = window.now), true)"
        )

    page.evaluate(changed(number))
    rows = [("first paint", float(np.median(paints)))]
    rows.append(("worklist and first case there", float(np.median(readies))))
    turns = median(lambda k: page.click("#later"), changed(number))
    rows.append(("next page of 100", turns))
    searches = median(lambda k: page.fill("#search", f"0{k}12{k}"), changed(number))
    rows.append(("search (waits 0.15 s for more letters)", searches))
    page.fill("#search", "")
    page.wait_for_timeout(1000)
    page.keyboard.press("Escape")
    page.evaluate(changed(chosen))
    rows.append(("next case (key)", median(lambda k: page.keyboard.press("j"), changed(chosen))))
    answers = "document.querySelector('#saved').textContent === 'saved'"

    def judge(k: int) -> None:
        page.evaluate("document.querySelector('#saved').textContent = ''")
        page.keyboard.press("nau"[k % 3])

    rows.append(("verdict saved", median(judge, answers)))
    return rows


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def wait_for(address: str, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            urllib.request.urlopen(address).close()
            return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server ended")


if __name__ == "__main__":
    main()
